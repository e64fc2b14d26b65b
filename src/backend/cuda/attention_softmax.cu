// Softmax of rows of scores, a block for each.
#include "backend/cuda/attention.h"
#include "backend/cuda/kernel.h"

namespace ernie_image::cuda {
namespace {

constexpr int kThreads = 256;

/// Bound: bytes, an f32 read and a T written each score, where L2 does not have them: the readings
/// of a row after the first find it in the caches. Expected: 70 % of the memory's rate.
template <typename T>
__global__ void softmax(const float* scores, std::int64_t keys, std::int64_t first_visible,
                        float scale, T* probabilities, std::int64_t stride) {
  const std::int64_t row = blockIdx.x;
  const float* const in = scores + row * keys;
  const std::int64_t visible = first_visible < 0 ? keys : first_visible + row + 1;
  float largest = -INFINITY;
  for (std::int64_t i = threadIdx.x; i < visible; i += kThreads) largest = fmaxf(largest, in[i]);
  largest = block_reduce(largest, -INFINITY, Larger());
  float sum = 0;
  for (std::int64_t i = threadIdx.x; i < visible; i += kThreads)
    sum += expf((in[i] - largest) * scale);
  const float inverse = 1.0f / block_sum(sum);
  for (std::int64_t i = threadIdx.x; i < stride; i += kThreads) {
    const float value = i < visible ? expf((in[i] - largest) * scale) * inverse : 0.0f;
    probabilities[row * stride + i] = from_float<T>(value);
  }
}

}  // namespace

void softmax_rows(const Stream& stream, const Tensor& scores, std::int64_t first_visible,
                  float scale, const Tensor& probabilities) {
  with_activation(probabilities.dtype(), [&](auto type) {
    using T = decltype(type);
    launch("attention: softmax", softmax<T>, static_cast<unsigned int>(scores.dim(0)), kThreads, 0,
           stream.get(), pointer<const float>(scores), scores.dim(1), first_visible, scale,
           pointer<T>(probabilities), probabilities.dim(1));
  });
}

}  // namespace ernie_image::cuda
