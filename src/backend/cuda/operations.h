// The operations that are kernels of our own, on tensors in the card's memory; backend.h says what
// each computes. An empty Tensor stands for what is not given.
#pragma once

#include <cstdint>

#include "backend/backend.h"
#include "backend/cuda/stream.h"

namespace ernie_image::cuda {

// ---- elementwise.cu
Tensor add(const Stream& stream, const Tensor& a, const Tensor& b);
Tensor multiply(const Stream& stream, const Tensor& a, const Tensor& b);
Tensor gelu(const Stream& stream, const Tensor& x);
Tensor silu(const Stream& stream, const Tensor& x);
Tensor gelu_mul(const Stream& stream, const Tensor& gate, const Tensor& up);
Tensor gelu_tanh(const Stream& stream, const Tensor& x);
Tensor gelu_tanh_mul(const Stream& stream, const Tensor& gate, const Tensor& up);
Tensor silu_mul(const Stream& stream, const Tensor& gate, const Tensor& up);
Tensor gated_add(const Stream& stream, const Tensor& x, Chunk gate, const Tensor& y);
/// From f32, f16 or bf16 to f32 or bf16.
Tensor cast(const Stream& stream, const Tensor& x, DType dtype);
/// y[..., n] = x[..., n] + bias[n] in float, rounded to `dtype`; x f32.
Tensor add_bias(const Stream& stream, const Tensor& x, const Tensor& bias, DType dtype);

// ---- norm.cu; weights f32
Tensor rms_norm(const Stream& stream, const Tensor& x, const Tensor& weight, float eps);
Tensor rms_norm_modulate(const Stream& stream, const Tensor& x, const Tensor& weight, float eps,
                         Chunk scale, Chunk shift);
Tensor layer_norm_modulate(const Stream& stream, const Tensor& x, float eps, Chunk scale,
                           Chunk shift);
Tensor norm_rope(const Stream& stream, const Tensor& x, const Tensor& weight, float eps,
                 const RotaryTable& rotary);

// ---- group_norm.cu
Tensor group_norm(const Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  int groups, float eps, Activation activation);

// ---- convolution.cu
/// Of a convolution: stride 1 with zeros all around, so that the size stays; or stride 2 with zeros
/// to the right and below only.
struct Window {
  std::int64_t kernel;
  std::int64_t stride = 1;

  /// Zeros to the left and above, and to the right and below.
  std::int64_t before() const { return stride == 1 ? kernel / 2 : 0; }
  std::int64_t after() const { return kernel / 2; }
  Shape result(const Tensor& x, std::int64_t outputs) const {
    return {x.dim(0), x.dim(1) / stride, x.dim(2) / stride, outputs};
  }
};

/// Rows [begin, begin + count) of the matrix whose product with filters [O, k, k, C] is the
/// convolution: [count, k * k * C], a row for each pixel of its result.
Tensor patches(const Stream& stream, const Tensor& x, Window window, std::int64_t begin,
               std::int64_t count);

// ---- layout.cu
Tensor concat_rows(const Stream& stream, const Tensor& a, const Tensor& b);
Tensor slice_rows(const Stream& stream, const Tensor& x, std::int64_t begin, std::int64_t count);
/// Of one dtype and size.
void copy(const Stream& stream, const Tensor& from, const Tensor& to);
Tensor transpose_rows(const Stream& stream, const Tensor& x);
Tensor upsample_nearest2x(const Stream& stream, const Tensor& x);

/// What card::CardBackend calls.
struct Operations {
  using Stream = cuda::Stream;
  static constexpr auto& add = cuda::add;
  static constexpr auto& multiply = cuda::multiply;
  static constexpr auto& gelu = cuda::gelu;
  static constexpr auto& silu = cuda::silu;
  static constexpr auto& gelu_mul = cuda::gelu_mul;
  static constexpr auto& gelu_tanh = cuda::gelu_tanh;
  static constexpr auto& gelu_tanh_mul = cuda::gelu_tanh_mul;
  static constexpr auto& silu_mul = cuda::silu_mul;
  static constexpr auto& gated_add = cuda::gated_add;
  static constexpr auto& cast = cuda::cast;
  static constexpr auto& rms_norm = cuda::rms_norm;
  static constexpr auto& rms_norm_modulate = cuda::rms_norm_modulate;
  static constexpr auto& layer_norm_modulate = cuda::layer_norm_modulate;
  static constexpr auto& norm_rope = cuda::norm_rope;
  static constexpr auto& group_norm = cuda::group_norm;
  static constexpr auto& concat_rows = cuda::concat_rows;
  static constexpr auto& slice_rows = cuda::slice_rows;
  static constexpr auto& copy = cuda::copy;
  static constexpr auto& transpose_rows = cuda::transpose_rows;
  static constexpr auto& upsample_nearest2x = cuda::upsample_nearest2x;
};

}  // namespace ernie_image::cuda
