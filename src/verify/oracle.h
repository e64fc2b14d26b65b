// The operations of backend.h in plain double precision, with the roundings that page names: slow,
// and simple enough to be seen to be right. Every backend is compared with these.
//
// All tensors are host tensors; activations are f32 or bf16, weights f32.
#pragma once

#include <cstdint>
#include <span>

#include "backend/backend.h"
#include "backend/gelu.h"
#include "core/tensor.h"

namespace ernie_image::oracle {

/// x [..., K], weight [N, K]; `bias` [N] may be empty.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

Tensor embedding(std::span<const std::int32_t> ids, const Tensor& table, DType dtype);

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);
Tensor rms_norm_modulate(const Tensor& x, const Tensor& weight, double eps, Chunk scale,
                         Chunk shift);
Tensor layer_norm_modulate(const Tensor& x, double eps, Chunk scale, Chunk shift);
/// `norm_weight` may be empty.
Tensor norm_rope(const Tensor& x, const Tensor& norm_weight, double eps, const RotaryTable& rotary);
Tensor group_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, int groups, double eps,
                  Activation activation);

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionMask& mask,
                 double scale);

Tensor gelu_mul(const Tensor& gate, const Tensor& up, GeluForm form = GeluForm::exact);
Tensor silu_mul(const Tensor& gate, const Tensor& up);
Tensor gated_add(const Tensor& x, Chunk gate, const Tensor& y);
Tensor add(const Tensor& a, const Tensor& b);
Tensor multiply(const Tensor& a, const Tensor& b);
Tensor gelu(const Tensor& x, GeluForm form = GeluForm::exact);
Tensor silu(const Tensor& x);
Tensor cast(const Tensor& x, DType dtype);

Tensor concat_rows(const Tensor& a, const Tensor& b);
Tensor slice_rows(const Tensor& x, std::int64_t begin, std::int64_t count);
Tensor transpose_rows(const Tensor& x);
Tensor upsample_nearest2x(const Tensor& x);

/// x [B, H, W, C_in], weight [C_out, C_in, k, k], bias [C_out].
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias);
/// weight [C_out, C_in, 3, 3]; the result is [B, H / 2, W / 2, C_out].
Tensor conv2d_stride2(const Tensor& x, const Tensor& weight, const Tensor& bias);

}  // namespace ernie_image::oracle
