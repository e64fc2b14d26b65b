// The patches of a convolution that is a matrix product.
#include "backend/cuda/kernel.h"
#include "backend/cuda/operations.h"

namespace ernie_image::cuda {
namespace {

constexpr int kThreads = 256;

struct PatchShape {
  std::int64_t height, width, channels;
  std::int64_t result_height, result_width;
  int kernel, stride;
  int before;  ///< zeros above and to the left
};

/// Bound: bytes written, k * k numbers each pixel and channel; the picture is read from the caches,
/// where the parts of 16 MiB (convolution.cpp) stay too. Expected: 70 % of the rate of L2.
template <int N, typename T>
__global__ void gather_patches(const T* x, PatchShape shape, std::int64_t begin, std::int64_t size,
                               T* y) {
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
  if (i >= size) return;
  const std::int64_t depth = shape.kernel * shape.kernel * shape.channels;
  const std::int64_t pixel = begin + i / depth;
  const int tap = static_cast<int>(i % depth / shape.channels);
  const std::int64_t line = pixel / shape.result_width;
  const std::int64_t row =
      line % shape.result_height * shape.stride + tap / shape.kernel - shape.before;
  const std::int64_t column =
      pixel % shape.result_width * shape.stride + tap % shape.kernel - shape.before;
  Vec<T, N> values;
  for (int j = 0; j < N; ++j) values.v[j] = from_float<T>(0.0f);
  if (row >= 0 && row < shape.height && column >= 0 && column < shape.width) {
    const std::int64_t image = line / shape.result_height;
    const std::int64_t at = (image * shape.height + row) * shape.width + column;
    values = load<N>(x + at * shape.channels + i % shape.channels);
  }
  store<N>(y + i, values);
}

}  // namespace

Tensor patches(const Stream& stream, const Tensor& x, Window window, std::int64_t begin,
               std::int64_t count) {
  Tensor y = stream.empty(x.dtype(), {count, window.kernel * window.kernel * x.dim(3)});
  if (y.size() == 0) return y;
  stream.begin_call();
  const Shape result = window.result(x, 1);
  const PatchShape shape{x.dim(1),
                         x.dim(2),
                         x.dim(3),
                         result[1],
                         result[2],
                         static_cast<int>(window.kernel),
                         static_cast<int>(window.stride),
                         static_cast<int>(window.before())};
  with_activation(x.dtype(), [&](auto type) {
    using T = decltype(type);
    with_width<T>(takes_vectors<T>(x.dim(3), x.bytes(), y.bytes()), [&](auto vector) {
      constexpr int N = decltype(vector)::value;
      launch("conv2d: patches", gather_patches<N, T>, blocks_for(y.size(), N * kThreads), kThreads,
             0, stream.get(), pointer<const T>(x), shape, begin, y.size(), pointer<T>(y));
    });
  });
  return y;
}

}  // namespace ernie_image::cuda
