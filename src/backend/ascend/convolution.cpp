// Convolutions, group norms and upsampling. Pictures are [B, H, W, C] at the interface, and aclnn's
// kernels want the channels first: they are moved there and back around each operation.
#include "backend/ascend/operations.h"

namespace ernie_image::ascend {
namespace {

/// [B, H, W, C] to [B, C, H, W].
Tensor channels_first(Stream& stream, const Tensor& x) {
  return transpose_rows(stream, x.reshaped({x.dim(0), x.dim(1) * x.dim(2), x.dim(3)}))
      .reshaped({x.dim(0), x.dim(3), x.dim(1), x.dim(2)});
}

/// [B, C, H, W] to [B, H, W, C].
Tensor channels_last(Stream& stream, const Tensor& x) {
  return transpose_rows(stream, x.reshaped({x.dim(0), x.dim(1), x.dim(2) * x.dim(3)}))
      .reshaped({x.dim(0), x.dim(2), x.dim(3), x.dim(1)});
}

/// All of one dtype.
Tensor convolve(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const std::int64_t padding = weight.dim(2) / 2;
  const bool transposed = false;
  const std::int64_t groups = 1;
  Tensor y = stream.empty(x.dtype(), {x.dim(0), weight.dim(0), x.dim(2), x.dim(3)});
  stream.call(cann().Convolution, View(x).as(ACL_FORMAT_NCHW), View(weight).as(ACL_FORMAT_NCHW),
              bias, Integers{{1, 1}}, Integers{{padding, padding}}, Integers{{1, 1}}, transposed,
              Integers{{0, 0}}, groups, View(y).as(ACL_FORMAT_NCHW), kKeepDType);
  return y;
}

/// Affine in float, rounded once. x: [B, C, pixels].
Tensor normalize(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
                 std::int64_t groups, float eps) {
  const Shape statistics = {x.dim(0), groups};
  Tensor y = stream.empty(x.dtype(), x.shape());
  const Tensor mean = stream.empty(x.dtype(), statistics);
  const Tensor rstd = stream.empty(x.dtype(), statistics);
  const bool activate = false;  // the reference rounds before the activation
  stream.call(cann().GroupNormSiluV2, x, weight, bias, groups, double{eps}, activate, y, mean,
              rstd);
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
  stream.call(cann().GroupNorm, wide, weight, bias, x.dim(0), x.dim(1), x.dim(2), groups,
              double{eps}, y, mean, rstd);
  return cast(stream, y, x.dtype());
}

}  // namespace

/// In fp32 where types are mixed, as `linear` does; the f32 bias is rounded with its layer then.
Tensor conv2d(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const bool as_it_is = weight.dtype() == x.dtype() && bias.dtype() == x.dtype();
  const DType dtype = as_it_is ? x.dtype() : DType::f32;
  const Tensor y = convolve(stream, cast(stream, channels_first(stream, x), dtype),
                            cast(stream, weight, dtype), cast(stream, bias, dtype));
  return channels_last(stream, cast(stream, y, x.dtype()));
}

Tensor group_norm(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  int groups, float eps, Activation activation) {
  const Tensor planes =
      channels_first(stream, x).reshaped({x.dim(0), x.dim(3), x.dim(1) * x.dim(2)});
  Tensor y = cann().GroupNormSiluV2 ? normalize(stream, planes, weight, bias, groups, eps)
                                    : normalize_in_float(stream, planes, weight, bias, groups, eps);
  if (activation == Activation::silu) y = silu(stream, y);
  return channels_last(stream, y.reshaped({x.dim(0), x.dim(3), x.dim(1), x.dim(2)}));
}

Tensor upsample_nearest2x(Stream& stream, const Tensor& x) {
  const std::int64_t height = x.dim(1), width = x.dim(2);
  Tensor y = stream.empty(x.dtype(), {x.dim(0), 2 * height, 2 * width, x.dim(3)});
  if (cann().UpsampleNearest2d) {
    stream.call(cann().UpsampleNearest2d, View(x).as(ACL_FORMAT_NHWC),
                Integers{{2 * height, 2 * width}}, View(y).as(ACL_FORMAT_NHWC));
    return y;
  }
  const View doubled = View(y).reshaped({x.dim(0) * height, 2, width, 2, x.dim(3)});
  stream.call(cann().InplaceCopy, doubled,
              View(x).reshaped({x.dim(0) * height, 1, width, 1, x.dim(3)}));
  return y;
}

}  // namespace ernie_image::ascend
