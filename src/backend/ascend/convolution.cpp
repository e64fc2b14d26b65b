// Convolutions, by aclnn's kernel for pictures whose channels come first.
#include "backend/ascend/operations.h"

namespace ernie_image::ascend {
namespace {

/// All of one dtype. Stride 1 has zeros all around, so that the size stays, stride 2 to the right
/// and below only.
Tensor convolve(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
                std::int64_t stride) {
  const std::int64_t zeros = weight.dim(2) / 2;
  // Two numbers: of rows and columns, both sides alike. Four: above, below, left, right.
  const Integers padding = stride == 1 ? Integers{{zeros, zeros}} : Integers{{0, zeros, 0, zeros}};
  const bool transposed = false;
  const std::int64_t groups = 1;
  Tensor y =
      stream.empty(x.dtype(), {x.dim(0), weight.dim(0), x.dim(2) / stride, x.dim(3) / stride});
  stream.call(cann().Convolution, View(x).as(ACL_FORMAT_NCHW), View(weight).as(ACL_FORMAT_NCHW),
              bias, Integers{{stride, stride}}, padding, Integers{{1, 1}}, transposed,
              Integers{{0, 0}}, groups, View(y).as(ACL_FORMAT_NCHW), kKeepDType);
  return y;
}

}  // namespace

/// In fp32 where types are mixed, as `linear` does; the f32 bias is rounded with its layer then.
Tensor conv2d(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
              std::int64_t stride) {
  const bool as_it_is = weight.dtype() == x.dtype() && bias.dtype() == x.dtype();
  const DType dtype = as_it_is ? x.dtype() : DType::f32;
  const Tensor y = convolve(stream, cast(stream, channels_first(stream, x), dtype),
                            cast(stream, weight, dtype), cast(stream, bias, dtype), stride);
  return channels_last(stream, cast(stream, y, x.dtype()));
}

}  // namespace ernie_image::ascend
