// Products of our own: one that takes every shape, and one that streams the weights past one row.
#include "backend/cuda/kernel.h"
#include "backend/cuda/products.h"

namespace ernie_image::cuda {
namespace {

// ---- any shape -------------------------------------------------------------------------------

constexpr int kTile = 64;   // outputs of a block each way
constexpr int kDepth = 16;  // along K at a time
constexpr int kSide = 16;   // threads each way, 4 x 4 outputs for each

__device__ __forceinline__ float multiply_add(float a, float b, float sum) {
  return fmaf(a, b, sum);
}
__device__ __forceinline__ int multiply_add(int a, int b, int sum) { return sum + a * b; }

__device__ __forceinline__ float as(float, float value) { return value; }
__device__ __forceinline__ float as(float, bf16 value) { return to_float(value); }
__device__ __forceinline__ int as(int, std::int8_t value) { return value; }

__device__ __forceinline__ void put(float* target, float value) { *target = value; }
__device__ __forceinline__ void put(bf16* target, float value) {
  *target = from_float<bf16>(value);
}
__device__ __forceinline__ void put(int* target, int value) { *target = value; }

/// Rows [first, first + kTile) of a matrix, columns [k, k + kDepth), transposed, zeros beyond.
template <typename Sum, typename T>
__device__ __forceinline__ void load_tile(const T* matrix, std::int64_t rows, std::int64_t depth,
                                          std::int64_t stride, std::int64_t first, std::int64_t k,
                                          Sum (*tile)[kTile + 1]) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kDepth; i += kSide * kSide) {
    const int row = i / kDepth, column = i % kDepth;
    const bool inside = first + row < rows && k + column < depth;
    tile[column][row] = inside ? as(Sum(), matrix[(first + row) * stride + k + column]) : Sum(0);
  }
}

/// Bound: operations, 2 M N K, of the cores for scalars: no tensor cores. Expected: 35 % of their
/// f32 rate: a number from shared memory for every two multiply-adds. It stands in where cuBLASLt
/// has nothing, and in tests.
template <typename Sum, typename X, typename Y>
__global__ void product_tiles(const X* x, std::int64_t rows, std::int64_t x_stride, const X* w,
                              std::int64_t columns, std::int64_t w_stride, std::int64_t depth, Y* y,
                              std::int64_t y_stride) {
  __shared__ Sum a[kDepth][kTile + 1];
  __shared__ Sum b[kDepth][kTile + 1];
  const std::int64_t row0 = static_cast<std::int64_t>(blockIdx.x) * kTile;
  const std::int64_t column0 = static_cast<std::int64_t>(blockIdx.y) * kTile;
  const int ty = static_cast<int>(threadIdx.x) / kSide, tx = static_cast<int>(threadIdx.x) % kSide;
  Sum sums[4][4] = {};
  for (std::int64_t k = 0; k < depth; k += kDepth) {
    load_tile(x, rows, depth, x_stride, row0, k, a);
    load_tile(w, columns, depth, w_stride, column0, k, b);
    __syncthreads();
    for (int i = 0; i < kDepth; ++i) {
      for (int r = 0; r < 4; ++r) {
        for (int c = 0; c < 4; ++c)
          sums[r][c] = multiply_add(a[i][ty + kSide * r], b[i][tx + kSide * c], sums[r][c]);
      }
    }
    __syncthreads();
  }
  for (int r = 0; r < 4; ++r) {
    for (int c = 0; c < 4; ++c) {
      const std::int64_t row = row0 + ty + kSide * r, column = column0 + tx + kSide * c;
      if (row < rows && column < columns) put(y + row * y_stride + column, sums[r][c]);
    }
  }
}

template <typename Sum, typename X, typename Y>
void run_tiles(const Stream& stream, const Matrix& x, const Matrix& w, const Matrix& y) {
  launch("matrix product", product_tiles<Sum, X, Y>,
         dim3(blocks_for(x.rows, kTile), blocks_for(w.rows, kTile)), kSide * kSide, 0, stream.get(),
         reinterpret_cast<const X*>(x.data), x.rows, x.stride, reinterpret_cast<const X*>(w.data),
         w.rows, w.stride, x.columns, reinterpret_cast<Y*>(y.data), y.stride);
}

// ---- one row ---------------------------------------------------------------------------------

constexpr int kRowThreads = 256;  // a warp for each output

/// Four accesses on their way at a time hide the latency of memory.
/// Bound: bytes, the weights once. Expected: 85 % of the memory's rate.
template <int N, typename X, typename W>
__global__ void row_products(const X* x, const W* w, const float* bias, std::int64_t columns,
                             std::int64_t depth, X* y) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t n =
      static_cast<std::int64_t>(blockIdx.x) * (kRowThreads / kWarp) + threadIdx.x / kWarp;
  if (n >= columns) return;  // a whole warp
  const W* const row = w + n * depth;
  float sum = 0;
#pragma unroll 4
  for (std::int64_t k = lane * N; k < depth; k += kWarp * N) {
    const Vec<W, N> weights = load<N>(row + k);
    const Vec<X, N> values = load<N>(x + k);
    for (int j = 0; j < N; ++j) sum = fmaf(to_float(weights.v[j]), to_float(values.v[j]), sum);
  }
  sum = warp_sum(sum);
  if (lane == 0) y[n] = from_float<X>(bias == nullptr ? sum : sum + bias[n]);
}

}  // namespace

void multiply_plainly(const Stream& stream, const Matrix& x, const Matrix& w, const Matrix& y) {
  if (x.dtype == DType::i8) return run_tiles<int, std::int8_t, int>(stream, x, w, y);
  if (x.dtype == DType::f32) return run_tiles<float, float, float>(stream, x, w, y);
  if (y.dtype == DType::f32) return run_tiles<float, bf16, float>(stream, x, w, y);
  run_tiles<float, bf16, bf16>(stream, x, w, y);
}

void multiply_row(const Stream& stream, const Tensor& x, const Tensor& w, const Tensor& bias,
                  const Tensor& y) {
  const std::int64_t columns = w.dim(0), depth = w.dim(1);
  const float* const offsets = bias.empty() ? nullptr : pointer<const float>(bias);
  with_activation(x.dtype(), [&](auto activation) {
    with_weight(w.dtype(), [&](auto stored) {
      using X = decltype(activation);
      using W = decltype(stored);
      // Of 8 elements, or 4 of f32 weights; floats beside 16-bit weights then take 32 bytes.
      const bool vectors = takes_vectors<std::uint16_t>(depth, x.bytes(), w.bytes()) &&
                           reinterpret_cast<std::uintptr_t>(x.bytes()) % 32 == 0;
      const auto run = [&](auto width) {
        constexpr int N = decltype(width)::value;
        launch("linear of one row", row_products<N, X, W>, blocks_for(columns, kRowThreads / kWarp),
               kRowThreads, 0, stream.get(), pointer<const X>(x), pointer<const W>(w), offsets,
               columns, depth, pointer<X>(y));
      };
      if (vectors) {
        run(Width<16 / sizeof(W)>());
      } else {
        run(Width<1>());
      }
    });
  });
}

}  // namespace ernie_image::cuda
