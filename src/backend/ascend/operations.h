// The operations of backend.h on device tensors; each file of this folder is a subject.
#pragma once

#include <cstdint>
#include <string>

#include "backend/ascend/call.h"
#include "backend/backend.h"

namespace ernie_image::ascend {

/// For products: the cube unit computes in the types it is given, with fp32 accumulation: no HF32,
/// no fp16.
inline constexpr std::int8_t kKeepDType = 0;
/// Factors of fp32 are rounded to 11 bits of mantissa; other types as they are.
inline constexpr std::int8_t kHf32 = 3;

// ---- elementwise.cpp -------------------------------------------------------------------------

Tensor add(Stream& stream, const Tensor& a, const Tensor& b);
/// b of the shape of a, or to be broadcast to it.
Tensor multiply(Stream& stream, const Tensor& a, const Tensor& b);
Tensor gelu(Stream& stream, const Tensor& x);
Tensor silu(Stream& stream, const Tensor& x);
Tensor silu_mul(Stream& stream, const Tensor& gate, const Tensor& up);
Tensor gelu_mul(Stream& stream, const Tensor& gate, const Tensor& up);
Tensor gelu_tanh(Stream& stream, const Tensor& x);
Tensor gelu_tanh_mul(Stream& stream, const Tensor& gate, const Tensor& up);
Tensor gated_add(Stream& stream, const Tensor& x, Chunk gate, const Tensor& y);
Tensor cast(Stream& stream, const Tensor& x, DType dtype);

/// One vector of a modulation as [B, 1, H], to be broadcast over the rows, in the table's dtype, in
/// float, and one plus it in float.
Tensor chunk_rows(Stream& stream, Chunk chunk, std::int64_t width);
Tensor wide_chunk_rows(Stream& stream, Chunk chunk, std::int64_t width);
Tensor chunk_factors(Stream& stream, Chunk chunk, std::int64_t width);

// ---- linear.cpp ------------------------------------------------------------------------------

/// weight: [N, K] of any float type; bias [N] of f32 or bf16, or empty.
Tensor linear(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias);

// ---- norm.cpp --------------------------------------------------------------------------------

/// weight: [H] in f32 or the type of x, or bf16 as the file has it.
Tensor rms_norm(Stream& stream, const Tensor& x, const Tensor& weight, float eps);
Tensor rms_norm_modulate(Stream& stream, const Tensor& x, const Tensor& weight, float eps,
                         Chunk scale, Chunk shift);
Tensor layer_norm_modulate(Stream& stream, const Tensor& x, float eps, Chunk scale, Chunk shift);
/// weight: [D], likewise, or empty.
Tensor norm_rope(Stream& stream, const Tensor& x, const Tensor& weight, float eps,
                 const RotaryTable& rotary);

// ---- layout.cpp ------------------------------------------------------------------------------

Tensor concat_rows(Stream& stream, const Tensor& a, const Tensor& b);
Tensor slice_rows(Stream& stream, const Tensor& x, std::int64_t begin, std::int64_t count);
/// Of one dtype and shape.
void copy(Stream& stream, const Tensor& from, const Tensor& to);
Tensor transpose_rows(Stream& stream, const Tensor& x);
/// [A, B, C] to [B, A, C].
Tensor swap_rows(Stream& stream, const Tensor& x);
Tensor upsample_nearest2x(Stream& stream, const Tensor& x);

/// Pictures are [B, H, W, C] at the interface, and aclnn's kernels want the channels first: they
/// are moved there and back around an operation. [B, H, W, C] to [B, C, H, W], and back.
Tensor channels_first(Stream& stream, const Tensor& x);
Tensor channels_last(Stream& stream, const Tensor& x);

// ---- convolution.cpp -------------------------------------------------------------------------

/// weight: [C_out, C_in, k, k] of any float type; bias [C_out] of f32 or bf16. `stride` 2:
/// conv2d_stride2. `math`: kKeepDType or kHf32.
Tensor conv2d(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
              std::int64_t stride = 1, std::int8_t math = kKeepDType);

// ---- group_norm.cpp --------------------------------------------------------------------------

/// weight, bias: [C] of f32 or bf16.
Tensor group_norm(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  int groups, float eps, Activation activation);

/// GroupNormSiluV2 is called by no program of PyTorch or MindSpore: a card is asked for a small
/// picture both ways before it is used. False also where the card refuses it.
bool fused_group_norm_works(Stream& stream);

/// What card::CardBackend calls.
struct Operations {
  using Stream = ascend::Stream;
  static constexpr auto& add = ascend::add;
  static constexpr auto& multiply = ascend::multiply;
  static constexpr auto& gelu = ascend::gelu;
  static constexpr auto& silu = ascend::silu;
  static constexpr auto& gelu_mul = ascend::gelu_mul;
  static constexpr auto& gelu_tanh = ascend::gelu_tanh;
  static constexpr auto& gelu_tanh_mul = ascend::gelu_tanh_mul;
  static constexpr auto& silu_mul = ascend::silu_mul;
  static constexpr auto& gated_add = ascend::gated_add;
  static constexpr auto& cast = ascend::cast;
  static constexpr auto& rms_norm = ascend::rms_norm;
  static constexpr auto& rms_norm_modulate = ascend::rms_norm_modulate;
  static constexpr auto& layer_norm_modulate = ascend::layer_norm_modulate;
  static constexpr auto& norm_rope = ascend::norm_rope;
  static constexpr auto& group_norm = ascend::group_norm;
  static constexpr auto& concat_rows = ascend::concat_rows;
  static constexpr auto& slice_rows = ascend::slice_rows;
  static constexpr auto& copy = ascend::copy;
  static constexpr auto& transpose_rows = ascend::transpose_rows;
  static constexpr auto& upsample_nearest2x = ascend::upsample_nearest2x;
};

}  // namespace ernie_image::ascend
