// What kernels are written with: number types, vector accesses, sums over a warp and a block. The
// same source is compiled by nvcc and, for tests, by the host's compiler (tests/cuda_host).
//
// Above each kernel stands its bound: what it cannot go below, in bytes of the card's memory or in
// operations, and the share of that limit of the card that it is expected to reach. The shares are
// estimates, for tensors too large for the L2 cache and many blocks for each processor; `bench
// --device cuda` measures the operations (docs/cuda.md).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "backend/cuda/launch.h"
#include "backend/cuda/stream.h"
#include "core/half.h"
#include "core/tensor.h"
#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace ernie_image::cuda {

inline constexpr int kWarp = 32;

struct bf16 {
  std::uint16_t bits;
};
struct f16 {
  std::uint16_t bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(std::int8_t x) { return static_cast<float>(x); }
__device__ __forceinline__ float to_float(bf16 x) {
#ifdef __CUDACC__
  return __uint_as_float(static_cast<unsigned int>(x.bits) << 16);
#else
  return bf16_to_float(x.bits);
#endif
}
__device__ __forceinline__ float to_float(f16 x) {
#ifdef __CUDACC__
  return __half2float(__ushort_as_half(x.bits));
#else
  return f16_to_float(x.bits);
#endif
}

/// To nearest even.
template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) {
#ifdef __CUDACC__
  return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#else
  return {float_to_bf16(x)};
#endif
}

/// Through T and back: what the reference's tensors do between operations.
template <typename T>
__device__ __forceinline__ float rounded(float x) {
  return to_float(from_float<T>(x));
}

/// N neighbours, moved in one access of up to 16 bytes.
template <typename T, int N>
struct alignas(sizeof(T) * N) Vec {
  T v[N];
};

template <int N, typename T>
__device__ __forceinline__ Vec<T, N> load(const T* source) {
  return *reinterpret_cast<const Vec<T, N>*>(source);
}
template <int N, typename T>
__device__ __forceinline__ void store(T* target, const Vec<T, N>& values) {
  *reinterpret_cast<Vec<T, N>*>(target) = values;
}

__device__ __forceinline__ float warp_sum(float x) {
  for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
  for (int step = kWarp / 2; step > 0; step /= 2)
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
  return x;
}

/// Over all threads of a one-dimensional block of whole warps; every thread gets the result.
template <typename Combine>
__device__ __forceinline__ float block_reduce(float x, float neutral, Combine combine) {
  __shared__ float parts[kWarp];
  for (int step = kWarp / 2; step > 0; step /= 2)
    x = combine(x, __shfl_xor_sync(0xffffffffu, x, step));
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (lane == 0) parts[warp] = x;
  __syncthreads();
  x = lane < static_cast<int>(blockDim.x) / kWarp ? parts[lane] : neutral;
  for (int step = kWarp / 2; step > 0; step /= 2)
    x = combine(x, __shfl_xor_sync(0xffffffffu, x, step));
  __syncthreads();  // `parts` may be used again
  return x;
}
struct Plus {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Larger {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
__device__ __forceinline__ float block_sum(float x) { return block_reduce(x, 0.0f, Plus()); }
__device__ __forceinline__ float block_max(float x) { return block_reduce(x, 0.0f, Larger()); }

/// Memory of the block whose size the launch gave.
template <typename T>
__device__ __forceinline__ T* dynamic_shared() {
#ifdef __CUDACC__
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  return reinterpret_cast<T*>(shared_bytes);
#else
  return reinterpret_cast<T*>(cuda_host::dynamic_shared());
#endif
}

// ---- on the host -----------------------------------------------------------------------------

/// function(T()), T being the type of an activation.
template <typename Function>
void with_activation(DType dtype, const Function& function) {
  if (dtype == DType::bf16) {
    function(bf16{});
  } else {
    function(float{});
  }
}

/// One value of a weight as files hold it.
template <typename Function>
void with_weight(DType dtype, const Function& function) {
  if (dtype == DType::f16) {
    function(f16{});
  } else {
    with_activation(dtype, function);
  }
}

template <typename T>
T* pointer(const Tensor& tensor) {
  return reinterpret_cast<T*>(tensor.bytes());
}

/// Whether all may be accessed in vectors of 16 bytes, `width` elements of T being a row.
template <typename T, typename... Pointers>
bool takes_vectors(std::int64_t width, const Pointers*... pointers) {
  constexpr std::int64_t kElements = 16 / static_cast<std::int64_t>(sizeof(T));
  return width % kElements == 0 && ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

template <int N>
struct Width {
  static constexpr int value = N;
};

/// function(Width<N>()): N elements at a time if `vectors`, else one.
template <typename T, typename Function>
void with_width(bool vectors, const Function& function) {
  if (vectors) {
    function(Width<16 / sizeof(T)>());
  } else {
    function(Width<1>());
  }
}

}  // namespace ernie_image::cuda
