// RMSNorm, LayerNorm and rotation, with the roundings of backend.h.
#include "backend/ascend/operations.h"

namespace ernie_image::ascend {
namespace {

using Use = DerivedTensors::Use;

/// A vector in a type that norms take beside x.
Tensor fitting(Stream& stream, const Tensor& weight, const Tensor& x) {
  return weight.dtype() == x.dtype() ? weight : cast(stream, weight, DType::f32);
}

/// x / rms(x) * gamma over the last axis, rounded once; gamma [H] of f32 or the type of x.
Tensor fused_rms_norm(Stream& stream, const Tensor& x, const Tensor& gamma, float eps) {
  Tensor y = stream.empty(x.dtype(), x.shape());
  if (y.size() == 0) return y;
  Shape statistics = x.shape();
  statistics.back() = 1;
  const Tensor rstd = stream.empty(DType::f32, statistics);
  stream.call(cann().RmsNorm, x, gamma, double{eps}, y, rstd);
  return y;
}

Tensor ones(Stream& stream, const Shape& shape) {
  return stream.derived().of(Use::ones, {}, DType::f32, shape, [&] {
    Tensor y = stream.empty(DType::f32, shape);
    stream.call(cann().InplaceFillScalar, y, Scalar{1});
    return y;
  });
}

/// A rotary table in the type of the activations, to which it has been rounded already.
Tensor narrow_table(Stream& stream, const Tensor& table, DType dtype) {
  if (table.dtype() == dtype) return table;
  return stream.derived().of(Use::narrow_table, table, dtype, table.shape(),
                             [&] { return cast(stream, table, dtype); });
}

/// [width, width]: rows times this are [-second half, first half] of the row. Every sum has one
/// term that is not zero, so the product is exact.
Tensor half_swap(Stream& stream, std::int64_t width, DType dtype) {
  return stream.derived().of(Use::half_swap, {}, dtype, {width, width}, [&] {
    Tensor matrix = Tensor::host(DType::f32, {width, width});
    for (std::int64_t i = 0; i < width / 2 && !matrix.is_booked(); ++i) {
      matrix.data<float>()[(i + width / 2) * width + i] = -1;
      matrix.data<float>()[i * width + i + width / 2] = 1;
    }
    return stream.upload(round_to(matrix, dtype));
  });
}

/// x [B, S, heads, D] rotated by the tables [R, S, D]: x * cos + [-second half, first half] * sin.
/// The vendor's fused rotation would round once where the reference rounds three times. Halves of
/// heads are strided, and would be copied by kernels of their own on their way in and out of each
/// product; a matrix product swaps them in one.
Tensor rotate(Stream& stream, const Tensor& x, const RotaryTable& rotary) {
  const std::int64_t width = x.dim(3);
  const Shape over_heads = {rotary.cos.dim(0), rotary.cos.dim(1), 1, width};
  const Tensor cos = narrow_table(stream, rotary.cos, x.dtype()).reshaped(over_heads);
  const Tensor sin = narrow_table(stream, rotary.sin, x.dtype()).reshaped(over_heads);
  const Tensor swapped = stream.empty(x.dtype(), x.shape());
  const Shape rows = {x.size() / width, width};
  stream.call(cann().Mm, x.reshaped(rows), half_swap(stream, width, x.dtype()),
              swapped.reshaped(rows), kKeepDType);
  return add(stream, multiply(stream, x, cos), multiply(stream, swapped, sin));
}

}  // namespace

/// The weight by itself: RmsNorm with a gamma would round once, the reference rounds twice.
Tensor rms_norm(Stream& stream, const Tensor& x, const Tensor& weight, float eps) {
  if (x.size() == 0) return x;
  return multiply(stream, fused_rms_norm(stream, x, ones(stream, weight.shape()), eps), weight);
}

/// In bf16 the conversions are written out: a mixture of types would cost the same ones for each
/// operand.
Tensor rms_norm_modulate(Stream& stream, const Tensor& x, const Tensor& weight, float eps,
                         Chunk scale, Chunk shift) {
  if (x.size() == 0) return x;
  const std::int64_t width = x.dim(2);
  const Tensor norm = cast(stream, rms_norm(stream, x, weight, eps), DType::f32);
  const Tensor y = stream.empty(DType::f32, x.shape());
  stream.call(cann().Addcmul, wide_chunk_rows(stream, shift, width), norm,
              chunk_factors(stream, scale, width), Scalar{1}, y);
  return cast(stream, y, x.dtype());
}

Tensor layer_norm_modulate(Stream& stream, const Tensor& x, float eps, Chunk scale, Chunk shift) {
  if (x.size() == 0) return x;
  const std::int64_t width = x.dim(2);
  const Tensor norm = stream.empty(x.dtype(), x.shape());
  stream.call(cann().LayerNorm, x, Integers{{width}}, nullptr, nullptr, double{eps}, norm, nullptr,
              nullptr);
  const Tensor factor = cast(stream, chunk_factors(stream, scale, width), x.dtype());
  return add(stream, multiply(stream, norm, factor), chunk_rows(stream, shift, width));
}

Tensor norm_rope(Stream& stream, const Tensor& x, const Tensor& weight, float eps,
                 const RotaryTable& rotary) {
  Tensor y = weight.empty() ? x : fused_rms_norm(stream, x, fitting(stream, weight, x), eps);
  if (rotary.cos.empty() || x.size() == 0) return y;
  y = rotate(stream, y, rotary);
  if (rotary.row_scale.empty()) return y;
  const Shape over_heads = {rotary.row_scale.dim(0), rotary.row_scale.dim(1), 1, 1};
  return multiply(stream, y,
                  narrow_table(stream, rotary.row_scale, y.dtype()).reshaped(over_heads));
}

}  // namespace ernie_image::ascend
