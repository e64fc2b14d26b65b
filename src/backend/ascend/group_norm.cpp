// GroupNorm, by aclnn's kernels for pictures whose channels come first.
#include <cmath>

#include "backend/ascend/operations.h"
#include "ernie_image/error.h"

namespace ernie_image::ascend {
namespace {

/// Affine in float, rounded once. x: [B, C, pixels].
Tensor normalize(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
                 std::int64_t groups, float eps) {
  const Shape statistics = {x.dim(0), groups};
  Tensor y = stream.empty(x.dtype(), x.shape());
  const Tensor mean = stream.empty(x.dtype(), statistics);
  const Tensor rstd = stream.empty(x.dtype(), statistics);
  // Both of the type of x, or both of float.
  const bool as_they_are = weight.dtype() == x.dtype() && bias.dtype() == x.dtype();
  const DType dtype = as_they_are ? x.dtype() : DType::f32;
  const bool activate = false;  // the reference rounds before the activation
  stream.call(cann().GroupNormSiluV2, x, cast(stream, weight, dtype), cast(stream, bias, dtype),
              groups, double{eps}, activate, y, mean, rstd);
  return y;
}

/// The same by GroupNorm, which wants one dtype for everything.
Tensor normalize_in_float(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
                          std::int64_t groups, float eps) {
  const Shape statistics = {x.dim(0), groups};
  const Tensor wide = cast(stream, x, DType::f32);
  const Tensor y = stream.empty(DType::f32, x.shape());
  const Tensor mean = stream.empty(DType::f32, statistics);
  const Tensor rstd = stream.empty(DType::f32, statistics);
  stream.call(cann().GroupNorm, wide, cast(stream, weight, DType::f32),
              cast(stream, bias, DType::f32), x.dim(0), x.dim(1), x.dim(2), groups, double{eps}, y,
              mean, rstd);
  return cast(stream, y, x.dtype());
}

/// Numbers between -1 and 1 whose groups have different means.
Tensor varied(const Shape& shape, float offset) {
  Tensor host = Tensor::host(DType::f32, shape);
  for (std::int64_t i = 0; i < host.size(); ++i)
    host.data<float>()[i] = std::sin(offset + static_cast<float>(i * i % 97) / 15.0f);
  return host;
}

/// Whether the fused norm gives what GroupNorm gives. A bf16 result may round the other way here
/// and there, by 2^-8 at most.
bool is_right(Stream& stream, DType dtype) {
  const std::int64_t channels = 64, groups = 32;
  const float eps = 1e-6f;
  const Tensor x = stream.upload(round_to(varied({2, channels, 96}, 0), dtype));
  const Tensor weight = stream.upload(varied({channels}, 1));
  const Tensor bias = stream.upload(varied({channels}, 2));
  stream.queue().synchronize();  // what fails so far is no fault of the operation
  Tensor fused;
  try {
    fused = normalize(stream, x, weight, bias, groups, eps);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::device) return false;  // refused, or without a kernel
    throw;
  }
  fused = to_float(stream.download(fused));
  const Tensor plain =
      to_float(stream.download(normalize_in_float(stream, x, weight, bias, groups, eps)));
  double error = 0, square = 0;
  for (std::int64_t i = 0; i < plain.size(); ++i) {
    const double off = fused.data<float>()[i] - plain.data<float>()[i];
    error += off * off;
    square += std::pow(plain.data<float>()[i], 2);
  }
  return error <= (dtype == DType::f32 ? 1e-10 : 1e-5) * square;  // not if one is NaN
}

}  // namespace

bool fused_group_norm_works(Stream& stream) {
  return cann().GroupNormSiluV2 && is_right(stream, DType::f32) && is_right(stream, DType::bf16);
}

Tensor group_norm(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  int groups, float eps, Activation activation) {
  const Tensor planes =
      channels_first(stream, x).reshaped({x.dim(0), x.dim(3), x.dim(1) * x.dim(2)});
  Tensor y = stream.trusts_fused_group_norm()
                 ? normalize(stream, planes, weight, bias, groups, eps)
                 : normalize_in_float(stream, planes, weight, bias, groups, eps);
  if (activation == Activation::silu) y = silu(stream, y);
  return channels_last(stream, y.reshaped({x.dim(0), x.dim(3), x.dim(1), x.dim(2)}));
}

}  // namespace ernie_image::ascend
