// What moves numbers and computes none: rows put together, cut out and turned, pixels repeated.
#include "backend/cuda/kernel.h"
#include "backend/cuda/operations.h"

namespace ernie_image::cuda {
namespace {

constexpr int kTile = 32;
constexpr int kTileThreads = 8;  // of its rows at a time
constexpr int kThreads = 256;

/// [R, C] to [C, R] by way of a tile, so that both sides are read and written along memory.
/// Bound: bytes, 2 numbers each element. Expected: 75 % of the memory's rate in f32, 60 % in bf16,
/// whose rows of a tile are 64 bytes.
template <typename T>
__global__ void transpose_tiles(const T* x, T* y, std::int64_t rows, std::int64_t columns) {
  __shared__ T tile[kTile][kTile + 1];  // one more: a column touches every bank
  const std::int64_t matrix = static_cast<std::int64_t>(blockIdx.z) * rows * columns;
  const std::int64_t row0 = static_cast<std::int64_t>(blockIdx.y) * kTile;
  const std::int64_t column0 = static_cast<std::int64_t>(blockIdx.x) * kTile;
  const int a = static_cast<int>(threadIdx.x);
  for (int b = static_cast<int>(threadIdx.y); b < kTile; b += kTileThreads) {
    if (row0 + b < rows && column0 + a < columns)
      tile[b][a] = x[matrix + (row0 + b) * columns + column0 + a];
  }
  __syncthreads();
  for (int b = static_cast<int>(threadIdx.y); b < kTile; b += kTileThreads) {
    if (column0 + b < columns && row0 + a < rows)
      y[matrix + (column0 + b) * rows + row0 + a] = tile[a][b];
  }
}

/// x [B, H, W, C]: a thread for each vector of the result [B, 2H, 2W, C].
/// Bound: bytes, 5 numbers each pixel and channel of x (one read, four written). Expected: 80 % of
/// the memory's rate.
template <int N, typename T>
__global__ void repeat_pixels(const T* x, std::int64_t width, std::int64_t channels,
                              std::int64_t size, T* y) {
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
  if (i >= size) return;
  const std::int64_t pixel = i / channels, c = i % channels;
  const std::int64_t line = pixel / (2 * width), column = pixel % (2 * width);
  store<N>(y + i, load<N>(x + (line / 2 * width + column / 2) * channels + c));
}

/// `blocks` pieces of `bytes`, each `source_stride` and `target_stride` from the next.
void copy_blocks(const Stream& stream, const char* what, std::byte* target,
                 std::size_t target_stride, const std::byte* source, std::size_t source_stride,
                 std::size_t bytes, std::int64_t blocks) {
  if (bytes == 0 || blocks == 0 || stream.device().rehearses()) return;
  require(
      cudaMemcpy2DAsync(target, target_stride, source, source_stride, bytes,
                        static_cast<std::size_t>(blocks), cudaMemcpyDeviceToDevice, stream.get()),
      std::string(what) + " of " + std::to_string(blocks) + " blocks of " + std::to_string(bytes) +
          " bytes");
}

std::size_t batch_row_bytes(const Tensor& x) {
  return static_cast<std::size_t>(x.dim(1) * x.dim(2)) * size_of(x.dtype());
}

}  // namespace

Tensor concat_rows(const Stream& stream, const Tensor& a, const Tensor& b) {
  stream.begin_call();
  Tensor y = stream.empty(a.dtype(), {a.dim(0), a.dim(1) + b.dim(1), a.dim(2)});
  const std::size_t first = batch_row_bytes(a), second = batch_row_bytes(b);
  copy_blocks(stream, "concat_rows", y.bytes(), first + second, a.bytes(), first, first, a.dim(0));
  copy_blocks(stream, "concat_rows", y.bytes() + first, first + second, b.bytes(), second, second,
              a.dim(0));
  return y;
}

Tensor slice_rows(const Stream& stream, const Tensor& x, std::int64_t begin, std::int64_t count) {
  stream.begin_call();
  Tensor y = stream.empty(x.dtype(), {x.dim(0), count, x.dim(2)});
  const std::size_t offset = static_cast<std::size_t>(begin * x.dim(2)) * size_of(x.dtype());
  copy_blocks(stream, "slice_rows", y.bytes(), batch_row_bytes(y), x.bytes() + offset,
              batch_row_bytes(x), batch_row_bytes(y), x.dim(0));
  return y;
}

void copy(const Stream& stream, const Tensor& from, const Tensor& to) {
  if (from.size() == 0) return;
  stream.begin_call();
  stream.copy(to.bytes(), from.bytes(), from.size_bytes(), "copying rows");
}

Tensor transpose_rows(const Stream& stream, const Tensor& x) {
  const std::int64_t batch = x.dim(0), rows = x.dim(1), columns = x.dim(2);
  Tensor y = stream.empty(x.dtype(), {batch, columns, rows});
  if (y.size() == 0) return y;
  stream.begin_call();
  with_activation(x.dtype(), [&](auto type) {
    using T = decltype(type);
    launch(
        "transpose_rows", transpose_tiles<T>,
        dim3(blocks_for(columns, kTile), blocks_for(rows, kTile), static_cast<unsigned int>(batch)),
        dim3(kTile, kTileThreads), 0, stream.get(), pointer<const T>(x), pointer<T>(y), rows,
        columns);
  });
  return y;
}

Tensor upsample_nearest2x(const Stream& stream, const Tensor& x) {
  Tensor y = stream.empty(x.dtype(), {x.dim(0), 2 * x.dim(1), 2 * x.dim(2), x.dim(3)});
  if (y.size() == 0) return y;
  stream.begin_call();
  with_activation(x.dtype(), [&](auto type) {
    using T = decltype(type);
    with_width<T>(takes_vectors<T>(x.dim(3), x.bytes(), y.bytes()), [&](auto vector) {
      constexpr int N = decltype(vector)::value;
      launch("upsample_nearest2x", repeat_pixels<N, T>, blocks_for(y.size(), N * kThreads),
             kThreads, 0, stream.get(), pointer<const T>(x), x.dim(2), x.dim(3), y.size(),
             pointer<T>(y));
    });
  });
  return y;
}

}  // namespace ernie_image::cuda
