// RMSNorm, LayerNorm and rotation, with the roundings of backend.h.
#include "backend/ascend/operations.h"

namespace ernie_image::ascend {
namespace {

/// x / rms(x) * gamma over the last axis, rounded once; gamma f32 [H].
Tensor fused_rms_norm(Stream& stream, const Tensor& x, const Tensor& gamma, float eps) {
  Tensor y = stream.empty(x.dtype(), x.shape());
  if (y.size() == 0) return y;
  Shape statistics = x.shape();
  statistics.back() = 1;
  const Tensor rstd = stream.empty(DType::f32, statistics);
  stream.call(cann().RmsNorm, x, gamma, double{eps}, y, rstd);
  return y;
}

Tensor filled(Stream& stream, Shape shape, float value) {
  Tensor y = stream.empty(DType::f32, std::move(shape));
  stream.call(cann().InplaceFillScalar, y, Scalar{value});
  return y;
}

/// 1 + chunk in float, as [B, 1, H].
Tensor one_plus(Stream& stream, Chunk chunk, std::int64_t width) {
  const View view = chunk_view(chunk, width);
  Tensor wide = stream.empty(DType::f32, view.shape);
  stream.call(cann().Cast, view, ACL_FLOAT, wide);
  const Tensor sum = stream.empty(DType::f32, view.shape);
  stream.call(cann().Adds, wide, Scalar{1}, Scalar{1}, sum);
  return sum;
}

/// x [B, S, heads, D] rotated by the tables [R, S, D]: the products into two tensors, then halves
/// of them subtracted and added. The vendor's fused rotation would round once where the reference
/// rounds three times.
Tensor rotate(Stream& stream, const Tensor& x, const RotaryTable& rotary) {
  const std::int64_t width = x.dim(3);
  const std::int64_t half = width / 2;
  const Shape over_heads = {rotary.cos.dim(0), rotary.cos.dim(1), 1, width};
  const View sin = View(rotary.sin).reshaped(over_heads);
  const Tensor straight = multiply(stream, x, View(rotary.cos).reshaped(over_heads));
  const Tensor crossed = stream.empty(x.dtype(), x.shape());
  const View source(x);
  for (const std::int64_t begin : {std::int64_t{0}, half}) {
    stream.call(cann().Mul, source.sliced(3, half - begin, half), sin.sliced(3, begin, half),
                View(crossed).sliced(3, begin, half));
  }
  Tensor y = stream.empty(x.dtype(), x.shape());
  stream.call(cann().Sub, View(straight).sliced(3, 0, half), View(crossed).sliced(3, 0, half),
              Scalar{1}, View(y).sliced(3, 0, half));
  stream.call(cann().Add, View(straight).sliced(3, half, half), View(crossed).sliced(3, half, half),
              Scalar{1}, View(y).sliced(3, half, half));
  return y;
}

}  // namespace

/// The weight by itself: RmsNorm with a gamma would round once, the reference rounds twice.
Tensor rms_norm(Stream& stream, const Tensor& x, const Tensor& weight, float eps) {
  const Tensor ones = filled(stream, weight.shape(), 1);
  return multiply(stream, fused_rms_norm(stream, x, ones, eps), weight);
}

Tensor rms_norm_modulate(Stream& stream, const Tensor& x, const Tensor& weight, float eps,
                         Chunk scale, Chunk shift) {
  const Tensor norm = rms_norm(stream, x, weight, eps);
  const Tensor factor = one_plus(stream, scale, x.dim(2));
  Tensor y = stream.empty(x.dtype(), x.shape());
  if (y.size() > 0)
    stream.call(cann().Addcmul, chunk_view(shift, x.dim(2)), norm, factor, Scalar{1}, y);
  return y;
}

Tensor layer_norm_modulate(Stream& stream, const Tensor& x, float eps, Chunk scale, Chunk shift) {
  const std::int64_t width = x.dim(2);
  const Tensor norm = stream.empty(x.dtype(), x.shape());
  if (norm.size() == 0) return norm;
  stream.call(cann().LayerNorm, x, Integers{{width}}, nullptr, nullptr, double{eps}, norm, nullptr,
              nullptr);
  const Tensor factor = cast(stream, one_plus(stream, scale, width), x.dtype());
  const Tensor scaled = multiply(stream, norm, factor);
  Tensor y = stream.empty(x.dtype(), x.shape());
  stream.call(cann().Add, scaled, chunk_view(shift, width), Scalar{1}, y);
  return y;
}

Tensor norm_rope(Stream& stream, const Tensor& x, const Tensor& weight, float eps,
                 const RotaryTable& rotary) {
  Tensor y = weight.empty() ? x : fused_rms_norm(stream, x, weight, eps);
  if (rotary.cos.empty() || x.size() == 0) return y;
  y = rotate(stream, y, rotary);
  if (rotary.row_scale.empty()) return y;
  const Shape over_heads = {rotary.row_scale.dim(0), rotary.row_scale.dim(1), 1, 1};
  return multiply(stream, y, View(rotary.row_scale).reshaped(over_heads));
}

}  // namespace ernie_image::ascend
