// Convolutions, by aclnn's kernel for pictures whose channels come first.
#include "backend/ascend/operations.h"

namespace ernie_image::ascend {
namespace {

/// What the kernels convert input and result to beside: [B, C / 16, H, W, 16].
std::size_t blocked_bytes(const Tensor& picture) {
  constexpr std::int64_t kBlock = 16;
  const std::int64_t channels = (picture.dim(1) + kBlock - 1) / kBlock * kBlock;
  return storage_bytes(picture.dtype(),
                       static_cast<std::size_t>(picture.size() / picture.dim(1) * channels));
}

/// x and weight of one dtype; bias f32, which is what the kernels take with bf16 too. Stride 1 has
/// zeros all around, so that the size stays, stride 2 to the right and below only.
Tensor convolve(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
                std::int64_t stride, std::int8_t math) {
  const std::int64_t zeros = weight.dim(2) / 2;
  // Two numbers: of rows and columns, both sides alike. Four: above, below, left, right.
  const Integers padding = stride == 1 ? Integers{{zeros, zeros}} : Integers{{0, zeros, 0, zeros}};
  const bool transposed = false;
  const std::int64_t groups = 1;
  Tensor y =
      stream.empty(x.dtype(), {x.dim(0), weight.dim(0), x.dim(2) / stride, x.dim(3) / stride});
  stream.expect_workspace(blocked_bytes(x) + blocked_bytes(y));
  stream.call(cann().Convolution, x, weight, bias, Integers{{stride, stride}}, padding,
              Integers{{1, 1}}, transposed, Integers{{0, 0}}, groups, y, math);
  return y;
}

}  // namespace

/// In fp32 where the types of x and weight differ, as `linear` does.
Tensor conv2d(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
              std::int64_t stride, std::int8_t math) {
  const DType dtype = weight.dtype() == x.dtype() ? x.dtype() : DType::f32;
  const Tensor y =
      convolve(stream, cast(stream, channels_first(stream, x), dtype), cast(stream, weight, dtype),
               cast(stream, bias, DType::f32), stride, dtype == DType::f32 ? math : kKeepDType);
  return channels_last(stream, cast(stream, y, x.dtype()));
}

}  // namespace ernie_image::ascend
