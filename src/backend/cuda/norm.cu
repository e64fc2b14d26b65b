// Norms over rows, a block for each, and over heads, a warp for each.
#include "backend/cuda/kernel.h"
#include "backend/cuda/operations.h"

namespace ernie_image::cuda {
namespace {

constexpr int kThreads = 256;

/// [.., H] of a modulation table for each batch row; null where there is none.
template <typename T>
struct Modulation {
  const T* scale;
  const T* shift;
  std::int64_t stride;
  std::int64_t rows_of_batch;
};

template <int N, typename T, typename Function>
__device__ __forceinline__ float row_sum(const T* row, std::int64_t width, Function function) {
  float sum = 0;
  for (std::int64_t i = threadIdx.x * N; i < width; i += blockDim.x * N) {
    const Vec<T, N> values = load<N>(row + i);
    for (int j = 0; j < N; ++j) sum += function(to_float(values.v[j]));
  }
  return block_sum(sum);
}

/// rsqrt of the device is wrong by up to two bits; a row has one.
__device__ __forceinline__ float inverse_root(float x) { return 1.0f / sqrtf(x); }

/// Bound: bytes, 2 numbers each element; the second reading of a row finds it in L1. Expected: 80 %
/// of the memory's rate with rows as wide as the model's, 4096.
template <int N, typename T, bool modulated>
__global__ void rms_norm_rows(const T* x, const float* weight, float eps, Modulation<T> modulation,
                              T* y, std::int64_t width) {
  const std::int64_t row = blockIdx.x;
  const T* const in = x + row * width;
  const float squares = row_sum<N>(in, width, [](float value) { return value * value; });
  const float factor = inverse_root(squares / static_cast<float>(width) + eps);
  const std::int64_t chunk = modulated ? row / modulation.rows_of_batch * modulation.stride : 0;
  for (std::int64_t i = threadIdx.x * N; i < width; i += blockDim.x * N) {
    Vec<T, N> values = load<N>(in + i);
    Vec<T, N> scale, shift;
    if constexpr (modulated) {
      scale = load<N>(modulation.scale + chunk + i);
      shift = load<N>(modulation.shift + chunk + i);
    }
    for (int j = 0; j < N; ++j) {
      float value = rounded<T>(to_float(values.v[j]) * factor) * weight[i + j];
      if constexpr (modulated)
        value = rounded<T>(value) * (1.0f + to_float(scale.v[j])) + to_float(shift.v[j]);
      values.v[j] = from_float<T>(value);
    }
    store<N>(y + row * width + i, values);
  }
}

/// Bound: bytes, 2 numbers each element; the second and third reading of a row find it in L1.
/// Expected: 75 % of the memory's rate, for two sums over the block in place of one.
template <int N, typename T>
__global__ void layer_norm_rows(const T* x, float eps, Modulation<T> modulation, T* y,
                                std::int64_t width) {
  const std::int64_t row = blockIdx.x;
  const T* const in = x + row * width;
  const float count = static_cast<float>(width);
  const float mean = row_sum<N>(in, width, [](float value) { return value; }) / count;
  const float squares =
      row_sum<N>(in, width, [mean](float value) { return (value - mean) * (value - mean); });
  const float factor = inverse_root(squares / count + eps);
  const std::int64_t chunk = row / modulation.rows_of_batch * modulation.stride;
  for (std::int64_t i = threadIdx.x * N; i < width; i += blockDim.x * N) {
    Vec<T, N> values = load<N>(in + i);
    const Vec<T, N> scale = load<N>(modulation.scale + chunk + i);
    const Vec<T, N> shift = load<N>(modulation.shift + chunk + i);
    for (int j = 0; j < N; ++j) {
      const float norm = rounded<T>((to_float(values.v[j]) - mean) * factor);
      const float product = rounded<T>(norm * rounded<T>(1.0f + to_float(scale.v[j])));
      values.v[j] = from_float<T>(product + to_float(shift.v[j]));
    }
    store<N>(y + row * width + i, values);
  }
}

/// Heads of one token lie together, so the warps of a block read the same angles.
struct Rotation {
  const float* cos;  // null: no rotation
  const float* sin;
  const float* row_scale;   // null: none
  std::int64_t tokens;      // of a batch row
  std::int64_t table_rows;  // 1, or as many as there are batch rows
};

/// N neighbours d of the first half together with their partners d + D/2.
template <int N, typename T>
__device__ __forceinline__ void rotate_head(const T* in, const float* weight, float factor,
                                            const Rotation& rotation, std::int64_t token,
                                            std::int64_t width, T* out, int lane) {
  const std::int64_t half = width / 2;
  const std::int64_t angle = rotation.table_rows == 1 ? token % rotation.tokens : token;
  const float* const cos = rotation.cos + angle * width;
  const float* const sin = rotation.sin + angle * width;
  const float scale = rotation.row_scale == nullptr ? 1.0f : rotation.row_scale[angle];
  const auto normed = [&](T value, std::int64_t d) {
    return weight == nullptr ? to_float(value) : rounded<T>(to_float(value) * factor * weight[d]);
  };
  const auto rotated = [&](float value, float partner, std::int64_t d) {
    const float sum = rounded<T>(rounded<T>(value * cos[d]) + rounded<T>(partner * sin[d]));
    return from_float<T>(rotation.row_scale == nullptr ? sum : sum * scale);
  };
  for (std::int64_t d = lane * N; d < half; d += kWarp * N) {
    Vec<T, N> first = load<N>(in + d), second = load<N>(in + half + d);
    for (int j = 0; j < N; ++j) {
      const float a = normed(first.v[j], d + j), b = normed(second.v[j], half + d + j);
      first.v[j] = rotated(a, -b, d + j);
      second.v[j] = rotated(b, a, half + d + j);
    }
    store<N>(out + d, first);
    store<N>(out + half + d, second);
  }
}

/// Bound: bytes, 2 numbers each element and the table once a head, which L2 has. Expected: 70 % of
/// the memory's rate: a warp for each vector of D numbers.
template <int N, typename T>
__global__ void norm_rope_heads(const T* x, const float* weight, float eps, Rotation rotation,
                                std::int64_t head_count, std::int64_t heads, std::int64_t width,
                                T* y) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t head =
      static_cast<std::int64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  if (head >= head_count) return;  // a whole warp
  const T* const in = x + head * width;
  float factor = 1.0f;
  if (weight != nullptr) {
    float squares = 0;
    for (std::int64_t d = lane; d < width; d += kWarp) squares += to_float(in[d]) * to_float(in[d]);
    factor = inverse_root(warp_sum(squares) / static_cast<float>(width) + eps);
  }
  if (rotation.cos != nullptr) {
    rotate_head<N>(in, weight, factor, rotation, head / heads, width, y + head * width, lane);
    return;
  }
  for (std::int64_t d = lane; d < width; d += kWarp) {
    const float value = to_float(in[d]);
    y[head * width + d] = from_float<T>(weight == nullptr ? value : value * factor * weight[d]);
  }
}

template <typename T>
Modulation<T> modulation_of(const Tensor& x, Chunk scale, Chunk shift) {
  const std::int64_t width = x.dim(2);
  return {pointer<const T>(scale.table) + scale.index * width,
          pointer<const T>(shift.table) + shift.index * width, scale.table.dim(1), x.dim(1)};
}

template <typename T>
bool modulation_takes_vectors(const Modulation<T>& modulation, std::int64_t width) {
  return takes_vectors<T>(width, modulation.scale, modulation.shift) &&
         takes_vectors<T>(modulation.stride);
}

template <bool modulated, typename T>
void run_rms_norm(const Stream& stream, const Tensor& x, const Tensor& weight, float eps,
                  const Modulation<T>& modulation, const Tensor& y) {
  const std::int64_t width = x.dim(-1);
  const bool vectors = takes_vectors<T>(width, x.bytes(), y.bytes()) &&
                       (!modulated || modulation_takes_vectors(modulation, width));
  with_width<T>(vectors, [&](auto vector) {
    constexpr int N = decltype(vector)::value;
    launch("rms_norm", rms_norm_rows<N, T, modulated>, static_cast<unsigned int>(x.size() / width),
           kThreads, 0, stream.get(), pointer<const T>(x), pointer<const float>(weight), eps,
           modulation, pointer<T>(y), width);
  });
}

}  // namespace

Tensor rms_norm(const Stream& stream, const Tensor& x, const Tensor& weight, float eps) {
  Tensor y = stream.empty(x.dtype(), x.shape());
  if (y.size() == 0) return y;
  stream.begin_call();
  with_activation(x.dtype(), [&](auto type) {
    using T = decltype(type);
    run_rms_norm<false, T>(stream, x, weight, eps, {}, y);
  });
  return y;
}

Tensor rms_norm_modulate(const Stream& stream, const Tensor& x, const Tensor& weight, float eps,
                         Chunk scale, Chunk shift) {
  Tensor y = stream.empty(x.dtype(), x.shape());
  if (y.size() == 0) return y;
  stream.begin_call();
  with_activation(x.dtype(), [&](auto type) {
    using T = decltype(type);
    run_rms_norm<true, T>(stream, x, weight, eps, modulation_of<T>(x, scale, shift), y);
  });
  return y;
}

Tensor layer_norm_modulate(const Stream& stream, const Tensor& x, float eps, Chunk scale,
                           Chunk shift) {
  Tensor y = stream.empty(x.dtype(), x.shape());
  if (y.size() == 0) return y;
  stream.begin_call();
  const std::int64_t width = x.dim(2);
  with_activation(x.dtype(), [&](auto type) {
    using T = decltype(type);
    const Modulation<T> modulation = modulation_of<T>(x, scale, shift);
    const bool vectors = takes_vectors<T>(width, x.bytes(), y.bytes()) &&
                         modulation_takes_vectors(modulation, width);
    with_width<T>(vectors, [&](auto vector) {
      constexpr int N = decltype(vector)::value;
      launch("layer_norm_modulate", layer_norm_rows<N, T>,
             static_cast<unsigned int>(x.size() / width), kThreads, 0, stream.get(),
             pointer<const T>(x), eps, modulation, pointer<T>(y), width);
    });
  });
  return y;
}

Tensor norm_rope(const Stream& stream, const Tensor& x, const Tensor& weight, float eps,
                 const RotaryTable& rotary) {
  Tensor y = stream.empty(x.dtype(), x.shape());
  if (y.size() == 0) return y;
  stream.begin_call();
  const std::int64_t heads = x.dim(2), width = x.dim(3);
  Rotation rotation{nullptr, nullptr, nullptr, x.dim(1), 1};
  if (!rotary.cos.empty()) {
    rotation.cos = pointer<const float>(rotary.cos);
    rotation.sin = pointer<const float>(rotary.sin);
    rotation.table_rows = rotary.cos.dim(0);
    if (!rotary.row_scale.empty()) rotation.row_scale = pointer<const float>(rotary.row_scale);
  }
  const float* const factors = weight.empty() ? nullptr : pointer<const float>(weight);
  const std::int64_t count = x.size() / width;
  with_activation(x.dtype(), [&](auto type) {
    using T = decltype(type);
    const auto run = [&](auto vector) {
      constexpr int N = decltype(vector)::value;
      launch("norm_rope", norm_rope_heads<N, T>, blocks_for(count, kThreads / kWarp), kThreads, 0,
             stream.get(), pointer<const T>(x), factors, eps, rotation, count, heads, width,
             pointer<T>(y));
    };
    if (width % 4 == 0) {
      run(Width<2>());
    } else {
      run(Width<1>());
    }
  });
  return y;
}

}  // namespace ernie_image::cuda
