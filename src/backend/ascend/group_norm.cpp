// GroupNorm, by aclnn's kernels for pictures whose channels come first.
#include "backend/ascend/operations.h"

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

}  // namespace

Tensor group_norm(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  int groups, float eps, Activation activation) {
  const Tensor planes =
      channels_first(stream, x).reshaped({x.dim(0), x.dim(3), x.dim(1) * x.dim(2)});
  Tensor y = cann().GroupNormSiluV2 ? normalize(stream, planes, weight, bias, groups, eps)
                                    : normalize_in_float(stream, planes, weight, bias, groups, eps);
  if (activation == Activation::silu) y = silu(stream, y);
  return channels_last(stream, y.reshaped({x.dim(0), x.dim(3), x.dim(1), x.dim(2)}));
}

}  // namespace ernie_image::ascend
