#include "backend/cpu/onednn_linear.h"

#include <omp.h>

#include <algorithm>
#include <dnnl.hpp>
#include <string>

#include "backend/cpu/block_product.h"
#include "ernie_image/error.h"

namespace ernie_image::cpu {
namespace {

// Weights widened at a time: 16 MB in f32.
constexpr std::int64_t kBlockFloats = std::int64_t{1} << 22;
constexpr std::int64_t kMaxColumns = 1024;
constexpr std::int64_t kRowsOfChunk = 16;  // of the result, rounded by one thread at a time

bool has_isa(dnnl::cpu_isa wanted) {
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto bits = static_cast<unsigned>(wanted);
  return (isa & bits) == bits;
}

/// A matrix in memory; element (i, j) lies at i * row_stride + j * column_stride.
struct Matrix {
  DType dtype;
  const void* data;
  std::int64_t rows, columns, row_stride, column_stride;

  dnnl::memory in(const dnnl::engine& engine) const {
    const auto type =
        dtype == DType::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
    return {{{rows, columns}, type, dnnl::memory::dims{row_stride, column_stride}},
            engine,
            const_cast<void*>(data)};
  }
};

/// c = a b, accumulated in float.
void multiply(int threads, const Matrix& a, const Matrix& b, const Matrix& c) {
  if (is_booked(c.data)) return;
  try {
    static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    dnnl::stream stream(engine);
    omp_set_num_threads(threads);
    const dnnl::memory left = a.in(engine), right = b.in(engine), result = c.in(engine);
    const dnnl::matmul::desc desc(left.get_desc(), right.get_desc(), result.get_desc());
    const dnnl::matmul product({desc, engine});
    product.execute(stream,
                    {{DNNL_ARG_SRC, left}, {DNNL_ARG_WEIGHTS, right}, {DNNL_ARG_DST, result}});
    stream.wait();
  } catch (const dnnl::error& error) {
    throw Error(ErrorKind::unsupported, std::string("cpu: oneDNN: ") + error.what() +
                                            "; choose other kernels with --cpu-kernels");
  }
}

/// `count` rows of `depth` elements, consecutive in memory, to f32.
void widen(ThreadPool& pool, const GemmKernels& kernels, DType dtype, const std::byte* source,
           std::int64_t count, std::int64_t depth, float* target) {
  pool.parallel_for(count, [&](std::int64_t row, int) {
    const std::size_t offset = static_cast<std::size_t>(row * depth) * size_of(dtype);
    kernels.widen(dtype, source + offset, depth, target + row * depth);
  });
}

/// Bias and rounding, into columns [begin, begin + columns) of the layer's result.
void store(ThreadPool& pool, const GemmKernels& kernels, const float* block, std::int64_t rows,
           const LinearLayer& layer, std::int64_t begin, std::int64_t columns) {
  const std::int64_t width = layer.weight->shape[0];
  const Tensor& y = layer.y;
  pool.parallel_for(ceil_div(rows, kRowsOfChunk), [&](std::int64_t chunk, int) {
    const std::int64_t row = chunk * kRowsOfChunk;
    TileStore tile;
    tile.source = block + row * columns;
    tile.source_stride = columns;
    tile.rows = static_cast<int>(std::min(kRowsOfChunk, rows - row));
    tile.columns = static_cast<int>(columns);
    tile.bias = layer.bias == nullptr ? nullptr : layer.bias + begin;
    tile.dtype = y.dtype();
    tile.target = y.bytes() + static_cast<std::size_t>(row * width + begin) * size_of(y.dtype());
    tile.target_stride = width;
    set_terms(tile, layer.terms, row, begin);
    kernels.store_tile(tile);
  });
}

/// The product with one layer; `rows` [M, K] is f32, or bf16 where weights stay bf16 too.
void multiply_layer(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& kernels,
                    const Matrix& rows, const LinearLayer& layer) {
  const Weight& weight = *layer.weight;
  const std::int64_t width = weight.shape[0], depth = weight.shape[1];
  const bool as_it_is = rows.dtype == weight.dtype;
  const std::int64_t most = std::clamp<std::int64_t>(kBlockFloats / depth, 1, kMaxColumns);
  const auto widened = as_it_is ? nullptr : memory.allocate_floats(most * depth);
  const auto block = memory.allocate_floats(rows.rows * most);
  for (std::int64_t begin = 0; begin < width; begin += most) {
    const std::int64_t columns = std::min(most, width - begin);
    const std::byte* source =
        weight.data + static_cast<std::size_t>(begin * depth) * size_of(weight.dtype);
    if (!as_it_is) widen(pool, kernels, weight.dtype, source, columns, depth, widened.get());
    const void* right = as_it_is ? static_cast<const void*>(source) : widened.get();
    multiply(pool.num_threads(), rows, {rows.dtype, right, depth, columns, 1, depth},
             {DType::f32, block.get(), rows.rows, columns, columns, 1});
    store(pool, kernels, block.get(), rows.rows, layer, begin, columns);
  }
}

}  // namespace

void onednn_linear(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& kernels,
                   const Tensor& x, std::span<const LinearLayer> layers) {
  static const bool native_bf16 = has_isa(dnnl::cpu_isa::avx512_core_bf16);
  const std::int64_t depth = x.dim(-1), count = x.size() / depth;
  const bool keeps_bf16 = native_bf16 && are_all_bf16(x, layers);
  // Products in f32 gain nothing; they are here so that the rest can be tested anywhere.
  if (native_bf16 && !keeps_bf16) return linear(pool, memory, kernels, x, layers);
  std::shared_ptr<float> widened;
  Matrix rows{x.dtype(), x.bytes(), count, depth, depth, 1};
  if (x.dtype() == DType::bf16 && !keeps_bf16) {
    widened = memory.allocate_floats(count * depth);
    widen(pool, kernels, x.dtype(), x.bytes(), count, depth, widened.get());
    rows.dtype = DType::f32;
    rows.data = widened.get();
  }
  for (const LinearLayer& layer : layers) multiply_layer(pool, memory, kernels, rows, layer);
}

bool onednn_has_amx() { return has_isa(dnnl::cpu_isa::avx512_core_amx); }

}  // namespace ernie_image::cpu
