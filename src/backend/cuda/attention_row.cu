// Attention of one query to a cache of keys and values: the warps of a block divide the keys, and
// put their running softmaxes together at the end.
#include "backend/cuda/attention.h"
#include "backend/cuda/kernel.h"

namespace ernie_image::cuda {
namespace {

constexpr int kWarps = 16;
constexpr int kThreads = kWarps * kWarp;
constexpr std::int64_t kMostWidth = 512;

/// What some of the keys give: sum of exp(score - largest), and the same times the values.
template <int kValues>
struct Running {
  float largest = -INFINITY;
  float sum = 0;
  float values[kValues] = {};
};

/// kValues: numbers of a head in one lane, lane + 32 i.
template <int kValues, typename T>
__device__ __forceinline__ void take_key(const float* query, const T* key, const T* value,
                                         float scale, std::int64_t width, int lane,
                                         Running<kValues>& running) {
  float score = 0;
  for (int i = 0; i < kValues; ++i) {
    const std::int64_t d = lane + kWarp * i;
    if (d < width) score = fmaf(query[i], to_float(key[d]), score);
  }
  score = warp_sum(score);
  const float largest = fmaxf(running.largest, score);
  // The difference is taken before scaling: huge scores that are equal give 0.
  const float shrink = expf((running.largest - largest) * scale);
  const float weight = expf((score - largest) * scale);
  running.largest = largest;
  running.sum = running.sum * shrink + weight;
  for (int i = 0; i < kValues; ++i) {
    const std::int64_t d = lane + kWarp * i;
    if (d < width) running.values[i] = fmaf(running.values[i], shrink, weight * to_float(value[d]));
  }
}

/// Bound: bytes, keys and values once for each query head that reads them; heads that share them
/// find them in L2. Expected: 50 % of the memory's rate with a thousand keys, less with few: a
/// block for each head does not fill a large card.
template <int kValues, typename T>
__global__ void attend_row(const T* q, const T* k, const T* v, const int* key_lengths,
                           std::int64_t all_keys, int kv_heads, std::int64_t width, float scale,
                           T* out) {
  float* const shared = dynamic_shared<float>();  // [kWarps][width], then largest and sum of each
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t heads = gridDim.x, head = blockIdx.x, batch = blockIdx.y;
  const std::int64_t kv_head = head / (heads / kv_heads), kv_stride = kv_heads * width;
  const T* const query = q + (batch * heads + head) * width;
  const std::int64_t first = batch * all_keys * kv_stride + kv_head * width;
  const std::int64_t keys = key_lengths == nullptr ? all_keys : key_lengths[batch];
  float own_query[kValues];
  for (int i = 0; i < kValues; ++i)
    own_query[i] = lane + kWarp * i < width ? to_float(query[lane + kWarp * i]) : 0.0f;

  Running<kValues> running;
  for (std::int64_t j = warp; j < keys; j += kWarps) {
    take_key(own_query, k + first + j * kv_stride, v + first + j * kv_stride, scale, width, lane,
             running);
  }
  float* const largest = shared + kWarps * width;
  float* const sums = largest + kWarps;
  for (int i = 0; i < kValues; ++i) {
    if (lane + kWarp * i < width) shared[warp * width + lane + kWarp * i] = running.values[i];
  }
  if (lane == 0) {
    largest[warp] = running.largest;
    sums[warp] = running.sum;
  }
  __syncthreads();
  float overall = -INFINITY;
  for (int w = 0; w < kWarps; ++w) overall = fmaxf(overall, largest[w]);
  for (std::int64_t d = threadIdx.x; d < width; d += kThreads) {
    float value = 0, sum = 0;
    for (int w = 0; w < kWarps && w < keys; ++w) {
      const float factor = expf((largest[w] - overall) * scale);
      value = fmaf(factor, shared[w * width + d], value);
      sum = fmaf(factor, sums[w], sum);
    }
    out[(batch * heads + head) * width + d] = from_float<T>(value / sum);
  }
}

}  // namespace

bool row_attention_takes(const Tensor& q) { return q.dim(1) == 1 && q.dim(3) <= kMostWidth; }

void row_attention(const Stream& stream, const AttentionCall& call) {
  const std::int64_t width = call.q.dim(3);
  const dim3 grid(static_cast<unsigned int>(call.q.dim(2)),
                  static_cast<unsigned int>(call.q.dim(0)));
  const std::size_t shared = static_cast<std::size_t>(kWarps * (width + 2)) * sizeof(float);
  const int* const lengths =
      call.key_lengths.empty() ? nullptr : pointer<const int>(call.key_lengths);
  with_activation(call.q.dtype(), [&](auto type) {
    using T = decltype(type);
    const auto run = [&](auto values) {
      launch("attention of one query", attend_row<decltype(values)::value, T>, grid, kThreads,
             shared, stream.get(), pointer<const T>(call.q), pointer<const T>(call.k),
             pointer<const T>(call.v), lengths, call.k.dim(1), static_cast<int>(call.k.dim(2)),
             width, call.scale, pointer<T>(call.out));
    };
    if (width <= 128) {
      run(Width<4>());
    } else {
      run(Width<16>());
    }
  });
}

}  // namespace ernie_image::cuda
