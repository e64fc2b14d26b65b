// One thread for each vector of neighbours.
#include "backend/cuda/kernel.h"
#include "backend/cuda/operations.h"

namespace ernie_image::cuda {
namespace {

constexpr int kThreads = 256;

/// x/2 erfc(-x / sqrt 2), whose relative error stays small where 1 + erf would cancel.
__device__ __forceinline__ float gelu_of(float x) {
  constexpr float kSqrtHalf = 0.70710678118654752f;
  const float tail = erfcf(fabsf(x) * kSqrtHalf);
  return 0.5f * x * (x > 0.0f ? 2.0f - tail : tail);
}

/// x/2 (1 + tanh z) = x / (1 + e^-2z), z = sqrt(2 / pi) (x + 0.044715 x^3)
__device__ __forceinline__ float gelu_tanh_of(float x) {
  return x / (1.0f + expf(-1.5957691216f * x * (1.0f + 0.044715f * x * x)));
}

__device__ __forceinline__ float silu_of(float x) { return x / (1.0f + expf(-x)); }

template <typename T>
struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
template <typename T>
struct Multiply {
  __device__ float operator()(float a, float b) const { return a * b; }
};
template <typename T>
struct GeluMul {
  __device__ float operator()(float gate, float up) const { return rounded<T>(gelu_of(gate)) * up; }
};
template <typename T>
struct GeluTanhMul {
  __device__ float operator()(float gate, float up) const {
    return rounded<T>(gelu_tanh_of(gate)) * up;
  }
};
template <typename T>
struct SiluMul {
  __device__ float operator()(float gate, float up) const { return rounded<T>(silu_of(gate)) * up; }
};
struct Gelu {
  __device__ float operator()(float x) const { return gelu_of(x); }
};
struct GeluTanh {
  __device__ float operator()(float x) const { return gelu_tanh_of(x); }
};
struct Silu {
  __device__ float operator()(float x) const { return silu_of(x); }
};

__device__ __forceinline__ std::int64_t thread_index() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

/// Bound: bytes, 3 numbers each element (two read, one written). Expected: 85 % of the memory's
/// rate.
template <int N, typename T, typename Function>
__global__ void map_pairs(const T* a, const T* b, T* y, std::int64_t size, Function function) {
  const std::int64_t i = thread_index() * N;
  if (i >= size) return;
  const Vec<T, N> va = load<N>(a + i), vb = load<N>(b + i);
  Vec<T, N> result;
  for (int j = 0; j < N; ++j)
    result.v[j] = from_float<T>(function(to_float(va.v[j]), to_float(vb.v[j])));
  store<N>(y + i, result);
}

/// Bound: bytes, 2 numbers each element. Expected: 85 % of the memory's rate.
template <int N, typename T, typename Function>
__global__ void map_each(const T* x, T* y, std::int64_t size, Function function) {
  const std::int64_t i = thread_index() * N;
  if (i >= size) return;
  Vec<T, N> values = load<N>(x + i);
  for (int j = 0; j < N; ++j) values.v[j] = from_float<T>(function(to_float(values.v[j])));
  store<N>(y + i, values);
}

/// Bound: bytes, one number of either type each element. Expected: 80 % of the memory's rate: the
/// narrower side moves by less than 16 bytes a thread.
template <int N, typename X, typename Y>
__global__ void convert(const X* x, Y* y, std::int64_t size) {
  const std::int64_t i = thread_index() * N;
  if (i >= size) return;
  const Vec<X, N> values = load<N>(x + i);
  Vec<Y, N> result;
  for (int j = 0; j < N; ++j) result.v[j] = from_float<Y>(to_float(values.v[j]));
  store<N>(y + i, result);
}

/// x + gate * y, a block for each row of `width`; rows_of_batch rows share a gate.
/// Bound: bytes, 3 numbers each element; the gates stay in L2. Expected: 85 % of the memory's rate.
template <int N, typename T>
__global__ void gated_rows(const T* x, const T* gate, std::int64_t gate_stride,
                           std::int64_t rows_of_batch, const T* y, T* out, std::int64_t width) {
  const std::int64_t row = blockIdx.x;
  const T* const factors = gate + row / rows_of_batch * gate_stride;
  for (std::int64_t i = threadIdx.x * N; i < width; i += blockDim.x * N) {
    const Vec<T, N> vx = load<N>(x + row * width + i), vy = load<N>(y + row * width + i);
    const Vec<T, N> vg = load<N>(factors + i);
    Vec<T, N> result;
    for (int j = 0; j < N; ++j) {
      const float product = rounded<T>(to_float(vg.v[j]) * to_float(vy.v[j]));
      result.v[j] = from_float<T>(to_float(vx.v[j]) + product);
    }
    store<N>(out + row * width + i, result);
  }
}

/// Bound: bytes, an f32 read and a Y written each element. Expected: 65 % of the memory's rate: one
/// number a thread, for the few small layers that have a bias.
template <typename Y>
__global__ void bias_rows(const float* x, const float* bias, Y* y, std::int64_t size,
                          std::int64_t width) {
  const std::int64_t i = thread_index();
  if (i < size) y[i] = from_float<Y>(x[i] + bias[i % width]);
}

template <template <typename> class Function>
Tensor pairs(const char* what, const Stream& stream, const Tensor& a, const Tensor& b) {
  Tensor y = stream.empty(a.dtype(), a.shape());
  if (y.size() == 0) return y;
  stream.begin_call();
  with_activation(a.dtype(), [&](auto type) {
    using T = decltype(type);
    with_width<T>(takes_vectors<T>(a.size(), a.bytes(), b.bytes(), y.bytes()), [&](auto width) {
      constexpr int N = decltype(width)::value;
      launch(what, map_pairs<N, T, Function<T>>, blocks_for(a.size(), N * kThreads), kThreads, 0,
             stream.get(), pointer<const T>(a), pointer<const T>(b), pointer<T>(y), a.size(),
             Function<T>());
    });
  });
  return y;
}

template <typename Function>
Tensor each(const char* what, const Stream& stream, const Tensor& x) {
  Tensor y = stream.empty(x.dtype(), x.shape());
  if (y.size() == 0) return y;
  stream.begin_call();
  with_activation(x.dtype(), [&](auto type) {
    using T = decltype(type);
    with_width<T>(takes_vectors<T>(x.size(), x.bytes(), y.bytes()), [&](auto width) {
      constexpr int N = decltype(width)::value;
      launch(what, map_each<N, T, Function>, blocks_for(x.size(), N * kThreads), kThreads, 0,
             stream.get(), pointer<const T>(x), pointer<T>(y), x.size(), Function());
    });
  });
  return y;
}

/// 8 elements at a time if both sides allow it.
template <typename X, typename Y>
void convert_into(const Stream& stream, const Tensor& x, const Tensor& y) {
  const bool vectors = takes_vectors<std::uint16_t>(x.size(), x.bytes(), y.bytes());
  const auto run = [&](auto width) {
    constexpr int N = decltype(width)::value;
    launch("cast", convert<N, X, Y>, blocks_for(x.size(), N * kThreads), kThreads, 0, stream.get(),
           pointer<const X>(x), pointer<Y>(y), x.size());
  };
  if (vectors) {
    run(Width<4>());
  } else {
    run(Width<1>());
  }
}

}  // namespace

Tensor add(const Stream& stream, const Tensor& a, const Tensor& b) {
  return pairs<Add>("add", stream, a, b);
}

Tensor gelu_mul(const Stream& stream, const Tensor& gate, const Tensor& up) {
  return pairs<GeluMul>("gelu_mul", stream, gate, up);
}

Tensor gelu_tanh_mul(const Stream& stream, const Tensor& gate, const Tensor& up) {
  return pairs<GeluTanhMul>("gelu_tanh_mul", stream, gate, up);
}

Tensor silu_mul(const Stream& stream, const Tensor& gate, const Tensor& up) {
  return pairs<SiluMul>("silu_mul", stream, gate, up);
}

Tensor multiply(const Stream& stream, const Tensor& a, const Tensor& b) {
  return pairs<Multiply>("multiply", stream, a, b);
}

Tensor gelu(const Stream& stream, const Tensor& x) { return each<Gelu>("gelu", stream, x); }

Tensor gelu_tanh(const Stream& stream, const Tensor& x) {
  return each<GeluTanh>("gelu_tanh", stream, x);
}

Tensor silu(const Stream& stream, const Tensor& x) { return each<Silu>("silu", stream, x); }

Tensor gated_add(const Stream& stream, const Tensor& x, Chunk gate, const Tensor& y) {
  Tensor out = stream.empty(x.dtype(), x.shape());
  if (out.size() == 0) return out;
  stream.begin_call();
  const std::int64_t rows = x.dim(0) * x.dim(1), width = x.dim(2), stride = gate.table.dim(1);
  with_activation(x.dtype(), [&](auto type) {
    using T = decltype(type);
    const T* const factors = pointer<const T>(gate.table) + gate.index * width;
    const bool vectors = takes_vectors<T>(width, x.bytes(), y.bytes(), out.bytes(), factors) &&
                         takes_vectors<T>(stride);
    with_width<T>(vectors, [&](auto vector) {
      constexpr int N = decltype(vector)::value;
      launch("gated_add", gated_rows<N, T>, static_cast<unsigned int>(rows), kThreads, 0,
             stream.get(), pointer<const T>(x), factors, stride, x.dim(1), pointer<const T>(y),
             pointer<T>(out), width);
    });
  });
  return out;
}

Tensor cast(const Stream& stream, const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tensor y = stream.empty(dtype, x.shape());
  if (y.size() == 0) return y;
  stream.begin_call();
  with_weight(x.dtype(), [&](auto from) {
    with_activation(dtype,
                    [&](auto to) { convert_into<decltype(from), decltype(to)>(stream, x, y); });
  });
  return y;
}

Tensor add_bias(const Stream& stream, const Tensor& x, const Tensor& bias, DType dtype) {
  Tensor y = stream.empty(dtype, x.shape());
  if (y.size() == 0) return y;
  stream.begin_call();
  with_activation(dtype, [&](auto type) {
    using T = decltype(type);
    launch("add_bias", bias_rows<T>, blocks_for(x.size(), kThreads), kThreads, 0, stream.get(),
           pointer<const float>(x), pointer<const float>(bias), pointer<T>(y), x.size(),
           bias.size());
  });
  return y;
}

}  // namespace ernie_image::cuda
