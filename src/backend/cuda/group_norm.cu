// GroupNorm of pictures [B, H, W, C]: sums of chunks, statistics of groups, one affine map.
#include "backend/cuda/kernel.h"
#include "backend/cuda/operations.h"

namespace ernie_image::cuda {
namespace {

constexpr int kThreads = 256;
/// How many pixels a thread adds up in float before the rest is added in double.
constexpr std::int64_t kPixelsOfThread = 64;

struct Sums {
  float sum;
  float squares;
};

/// Threads of a block: `lanes` channels side by side, `rows` pixels at a time.
struct Tiling {
  explicit Tiling(std::int64_t channels)
      : lanes(static_cast<int>(channels < kThreads ? channels : kThreads)),
        rows(kThreads / lanes),
        pixels(rows * kPixelsOfThread) {}
  int lanes;
  int rows;
  std::int64_t pixels;  ///< of a block
};

/// Sums of (x - pivot) and their squares over a chunk of pixels, for each group: [B, chunks,
/// groups]. The pivot is the group's first number, so that little cancels afterwards.
/// Bound: bytes, the picture once. Expected: 60 % of the memory's rate: one number a thread at a
/// time, and the sums of a block end in few threads.
template <typename T>
__global__ void group_sums(const T* x, std::int64_t pixels, std::int64_t channels, int groups,
                           Tiling tiling, Sums* partial) {
  Sums* const shared = dynamic_shared<Sums>();  // [rows][channels]
  const T* const picture = x + static_cast<std::int64_t>(blockIdx.y) * pixels * channels;
  const std::int64_t size = channels / groups;
  const int lane = static_cast<int>(threadIdx.x) % tiling.lanes;
  const int row = static_cast<int>(threadIdx.x) / tiling.lanes;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * tiling.pixels;
  const std::int64_t end = begin + tiling.pixels < pixels ? begin + tiling.pixels : pixels;
  for (std::int64_t c = lane; c < channels && row < tiling.rows; c += tiling.lanes) {
    const float pivot = to_float(picture[c / size * size]);
    Sums sums{0, 0};
    for (std::int64_t p = begin + row; p < end; p += tiling.rows) {
      const float value = to_float(picture[p * channels + c]) - pivot;
      sums.sum += value;
      sums.squares += value * value;
    }
    shared[row * channels + c] = sums;
  }
  __syncthreads();
  for (int g = static_cast<int>(threadIdx.x); g < groups; g += kThreads) {
    Sums total{0, 0};
    for (int r = 0; r < tiling.rows; ++r) {
      for (std::int64_t c = g * size; c < (g + 1) * size; ++c) {
        total.sum += shared[r * channels + c].sum;
        total.squares += shared[r * channels + c].squares;
      }
    }
    partial[(static_cast<std::int64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * groups + g] = total;
  }
}

__device__ __forceinline__ double warp_sum_double(double x) {
  for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}

/// A warp for each group of a picture: mean and 1 / deviation, [B, groups, 2].
/// Bound: the start of a kernel; it reads 8 bytes for each group and chunk. No share of any limit.
template <typename T>
__global__ void group_statistics(const T* x, const Sums* partial, std::int64_t chunks,
                                 std::int64_t pixels, std::int64_t channels, float eps,
                                 float* values) {
  const int groups = static_cast<int>(gridDim.x), group = static_cast<int>(blockIdx.x);
  const std::int64_t picture = blockIdx.y;
  double sum = 0, squares = 0;
  for (std::int64_t i = threadIdx.x; i < chunks; i += kWarp) {
    const Sums& part = partial[(picture * chunks + i) * groups + group];
    sum += part.sum;
    squares += part.squares;
  }
  const double count = static_cast<double>(pixels) * static_cast<double>(channels / groups);
  const double offset = warp_sum_double(sum) / count;
  const double variance = warp_sum_double(squares) / count - offset * offset;
  if (threadIdx.x != 0) return;
  const float pivot = to_float(x[picture * pixels * channels + group * (channels / groups)]);
  float* const target = values + (picture * groups + group) * 2;
  target[0] = static_cast<float>(pivot + offset);
  target[1] = static_cast<float>(1.0 / sqrt((variance > 0 ? variance : 0 * variance) + eps));
}

/// Bound: bytes, 2 numbers each element. Expected: 80 % of the memory's rate: the divisions that
/// find picture and group are hidden behind it.
template <int N, typename T>
__global__ void group_normalise(const T* x, const float* values, const float* weight,
                                const float* bias, std::int64_t picture_size, int channels,
                                int groups, bool silu, std::int64_t size, T* y) {
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
  if (i >= size) return;
  const int c = static_cast<int>(i % channels), group_size = channels / groups;
  const float* const statistics = values + i / picture_size * groups * 2;
  Vec<T, N> result = load<N>(x + i);
  for (int j = 0; j < N; ++j) {
    const float* const own = statistics + (c + j) / group_size * 2;
    const float norm = (to_float(result.v[j]) - own[0]) * own[1] * weight[c + j] + bias[c + j];
    const float value = rounded<T>(norm);
    result.v[j] = from_float<T>(silu ? value / (1.0f + expf(-value)) : value);
  }
  store<N>(y + i, result);
}

/// f32 [B, groups, 2]
template <typename T>
Tensor statistics_of(const Stream& stream, const Tensor& x, int groups, float eps) {
  const std::int64_t batch = x.dim(0), pixels = x.dim(1) * x.dim(2), channels = x.dim(3);
  const Tiling tiling(channels);
  const std::int64_t chunks = (pixels + tiling.pixels - 1) / tiling.pixels;
  const Tensor partial = stream.empty(DType::f32, {batch, chunks, groups, 2});
  Tensor values = stream.empty(DType::f32, {batch, groups, 2});
  launch("group_norm: sums", group_sums<T>,
         dim3(static_cast<unsigned int>(chunks), static_cast<unsigned int>(batch)), kThreads,
         static_cast<std::size_t>(tiling.rows * channels) * sizeof(Sums), stream.get(),
         pointer<const T>(x), pixels, channels, groups, tiling, pointer<Sums>(partial));
  launch("group_norm: statistics", group_statistics<T>,
         dim3(static_cast<unsigned int>(groups), static_cast<unsigned int>(batch)), kWarp, 0,
         stream.get(), pointer<const T>(x), pointer<const Sums>(partial), chunks, pixels, channels,
         eps, pointer<float>(values));
  return values;
}

}  // namespace

Tensor group_norm(const Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  int groups, float eps, Activation activation) {
  Tensor y = stream.empty(x.dtype(), x.shape());
  if (y.size() == 0) return y;
  stream.begin_call();
  const std::int64_t picture_size = x.size() / x.dim(0);
  with_activation(x.dtype(), [&](auto type) {
    using T = decltype(type);
    const Tensor values = statistics_of<T>(stream, x, groups, eps);
    with_width<T>(takes_vectors<T>(x.dim(3), x.bytes(), y.bytes()), [&](auto vector) {
      constexpr int N = decltype(vector)::value;
      launch("group_norm", group_normalise<N, T>, blocks_for(x.size(), N * kThreads), kThreads, 0,
             stream.get(), pointer<const T>(x), pointer<const float>(values),
             pointer<const float>(weight), pointer<const float>(bias), picture_size,
             static_cast<int>(x.dim(3)), groups, activation == Activation::silu, x.size(),
             pointer<T>(y));
    });
  });
  return y;
}

}  // namespace ernie_image::cuda
