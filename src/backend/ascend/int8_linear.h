// Linear layers of int8: codes and a scale for each row on both sides, products of integers.
#pragma once

#include <string>

#include "backend/ascend/call.h"

namespace ernie_image::ascend {

/// Rows as integers.
struct Int8Rows {
  Tensor codes;   ///< i8 [rows, K], -127..127
  Tensor scales;  ///< f32 [rows]
};

/// Throws Error(unsupported) if CANN lacks the operations, or they do not take a weight of that
/// shape [N, K].
void require_int8(const std::string& weight, const Shape& shape);

/// x [..., K] rotated as packed_weight.h says, but for the factor that makes the matrices
/// orthonormal, and rounded with a scale for each row. What is rounded to integers has bf16 before.
Int8Rows quantized(Stream& stream, const Tensor& x);

/// y [..., N] = x w^T + bias in `dtype`; `shape` is that of x. The product comes in bf16; bias of
/// f32 or bf16, or empty.
Tensor linear_int8(Stream& stream, const Int8Rows& x, const Shape& shape, DType dtype,
                   const Int8Rows& weight, const Tensor& bias);

}  // namespace ernie_image::ascend
