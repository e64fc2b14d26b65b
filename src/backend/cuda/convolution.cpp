#include "backend/cuda/convolution.h"

#include <algorithm>

#include "backend/cuda/linear.h"
#include "backend/cuda/operations.h"

namespace ernie_image::cuda {
namespace {

/// Bytes of the patches that are gathered at a time: they stay in the L2 cache for the product.
constexpr std::int64_t kPatchBytes = std::int64_t{16} << 20;

}  // namespace

Tensor Convolution::operator()(const Tensor& x, const Tensor& filters, const Tensor& bias,
                               Window window) const {
  const Shape shape = window.result(x, filters.dim(0));
  if (num_elements(shape) == 0) return stream_.empty(x.dtype(), shape);
  stream_.begin_call();
  // A wider filter keeps its digits: the sum is then in float as a whole.
  const bool wider = x.dtype() == DType::bf16 && filters.dtype() != DType::bf16;
  const DType dtype = wider ? DType::f32 : x.dtype();
  const Tensor picture = cast(stream_, x, dtype), weights = cast(stream_, filters, dtype);
  const Tensor y = stream_.empty(dtype, shape);
  if (library_ != nullptr && library_->convolve(stream_, picture, weights, bias, window, y))
    return cast(stream_, y, x.dtype());
  return cast(stream_, by_patches(picture, weights, bias, window), x.dtype());
}

Tensor Convolution::by_patches(const Tensor& x, const Tensor& filters, const Tensor& bias,
                               Window window) const {
  const std::int64_t outputs = filters.dim(0);
  const std::int64_t depth = window.kernel * window.kernel * x.dim(3);
  const Tensor matrix = filters.reshaped({outputs, depth});
  if (window.kernel == 1) return linear(stream_, products_, x, matrix, bias);
  Tensor y = stream_.empty(x.dtype(), window.result(x, outputs));
  const std::int64_t pixels = y.size() / outputs;
  const std::int64_t row_bytes = depth * static_cast<std::int64_t>(size_of(x.dtype()));
  const std::int64_t step = std::max<std::int64_t>(64, kPatchBytes / row_bytes);
  for (std::int64_t begin = 0; begin < pixels; begin += step) {
    const std::int64_t count = std::min(step, pixels - begin);
    const Tensor part =
        linear(stream_, products_, patches(stream_, x, window, begin, count), matrix, bias);
    const Tensor target = y.reshaped({pixels, outputs}).slice(begin, count);
    stream_.copy(target.bytes(), part.bytes(), part.size_bytes(), "conv2d: copying a part");
  }
  return y;
}

}  // namespace ernie_image::cuda
