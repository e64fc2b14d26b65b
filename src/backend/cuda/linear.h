// Linear layers with plain weights, whatever types meet.
#pragma once

#include "backend/cuda/products.h"

namespace ernie_image::cuda {

/// x [.., K] of f32 or bf16, w [N, K] of f32, f16 or bf16, bias f32 [N] or empty. In bf16 if both
/// are; else in float, for which the other side is widened. Rounded once.
Tensor linear(const Stream& stream, const Products& products, const Tensor& x, const Tensor& w,
              const Tensor& bias);

}  // namespace ernie_image::cuda
