#include "backend/cpu/linear.h"

#include <algorithm>
#include <array>
#include <vector>

#include "backend/cpu/block_product.h"

namespace ernie_image::cpu {
namespace {

// Rows whose packed f32 copy is held at a time (52 MB at K = 12288). A multiple of the tile rows
// of every kernel set and of the token counts of square images.
constexpr std::int64_t kMaxRows = 1056;

// A chunk of work below this is not worth handing to another thread: some 30 microseconds.
constexpr std::int64_t kMinRowsOfChunk = 48;

// Weight rows of a chunk of the vector product.
constexpr std::int64_t kVectorChunk = 64;

/// Columns [begin, begin + count) of one layer.
struct ColumnChunk {
  const LinearLayer* layer;
  std::int64_t begin;
  std::int64_t count;
};

std::vector<ColumnChunk> column_chunks(std::span<const LinearLayer> layers, std::int64_t width) {
  std::vector<ColumnChunk> chunks;
  for (const LinearLayer& layer : layers) {
    const std::int64_t columns = layer.weight->shape[0];
    for (std::int64_t begin = 0; begin < columns; begin += width)
      chunks.push_back({&layer, begin, std::min(width, columns - begin)});
  }
  return chunks;
}

// Rows of an encoded weight that are decoded at a time for a product with few rows of activations:
// 400 KB at K = 12288.
constexpr std::int64_t kDecodedRows = 8;

bool is_encoded(const Weight& weight) { return weight.format == WeightFormat::encoded; }

/// Rows that are decoded into f32, one block for each thread.
class DecodedRows {
 public:
  /// `rows` rows of `depth`; nothing if no layer is encoded.
  DecodedRows(CpuMemoryPool& memory, std::span<const LinearLayer> layers, int threads,
              std::int64_t rows, std::int64_t depth)
      : floats_(rows * depth) {
    if (std::ranges::any_of(layers, [](const auto& layer) { return is_encoded(*layer.weight); }))
      data_ = memory.allocate_floats(floats_ * threads);
  }
  float* of(int thread) const {
    return data_ == nullptr ? nullptr : data_.get() + thread * floats_;
  }

 private:
  std::int64_t floats_;
  std::shared_ptr<float> data_;
};

/// The weight row `column` from depth `k` on.
const std::byte* weight_at(const Weight& weight, std::int64_t column, std::int64_t k) {
  return weight.data +
         static_cast<std::size_t>(column * weight.shape[1] + k) * size_of(weight.dtype);
}

// ---- up to eight rows: weights are streamed once ---------------------------------------------

// Keeps rows of 2^n elements from falling into the same sets of the L1 cache.
constexpr std::int64_t kRowPadding = 32;

/// The rows of x in f32, `stride` floats apart.
std::shared_ptr<float> widen_rows(CpuMemoryPool& memory, const GemmKernels& kernels,
                                  const Tensor& x, std::int64_t stride) {
  const std::int64_t depth = x.dim(-1);
  const std::int64_t count = x.size() / depth;
  const std::shared_ptr<float> rows = memory.allocate_floats(count * stride);
  for (std::int64_t row = 0; row < count && !x.is_booked(); ++row) {
    const std::size_t offset = static_cast<std::size_t>(row * depth) * size_of(x.dtype());
    kernels.widen(x.dtype(), x.bytes() + offset, depth, rows.get() + row * stride);
  }
  return rows;
}

/// The products with the rows of one chunk: result[vectors.count][kVectorChunk].
void multiply_rows(const GemmKernels& kernels, const VectorRows& vectors, const ColumnChunk& chunk,
                   float* decoded, float* result) {
  const Weight& weight = *chunk.layer->weight;
  const std::int64_t depth = weight.shape[1];
  if (!is_encoded(weight)) {
    const WeightRows rows{weight.dtype, weight_at(weight, chunk.begin, 0),
                          depth * static_cast<std::int64_t>(size_of(weight.dtype)),
                          static_cast<int>(chunk.count)};
    kernels.multiply_vectors(vectors, rows, depth, result, kVectorChunk);
    return;
  }
  for (std::int64_t first = 0; first < chunk.count; first += kDecodedRows) {
    const std::int64_t count = std::min(kDecodedRows, chunk.count - first);
    weight.decoder->decode((chunk.begin + first) * depth, count * depth, decoded);
    const WeightRows rows{DType::f32, reinterpret_cast<const std::byte*>(decoded),
                          depth * static_cast<std::int64_t>(sizeof(float)),
                          static_cast<int>(count)};
    kernels.multiply_vectors(vectors, rows, depth, result + first, kVectorChunk);
  }
}

void multiply_chunk(const GemmKernels& kernels, const VectorRows& vectors, const ColumnChunk& chunk,
                    float* decoded) {
  const Weight& weight = *chunk.layer->weight;
  const Tensor& y = chunk.layer->y;
  alignas(64) std::array<float, GemmKernels::kMaxVectors * kVectorChunk> result;
  multiply_rows(kernels, vectors, chunk, decoded, result.data());

  TileStore store;
  store.source = result.data();
  store.source_stride = kVectorChunk;
  store.rows = vectors.count;
  store.columns = static_cast<int>(chunk.count);
  store.bias = chunk.layer->bias == nullptr ? nullptr : chunk.layer->bias + chunk.begin;
  store.dtype = y.dtype();
  store.target = y.bytes() + static_cast<std::size_t>(chunk.begin) * size_of(y.dtype());
  store.target_stride = weight.shape[0];
  set_terms(store, chunk.layer->terms, 0, chunk.begin);
  kernels.store_tile(store);
}

void linear_of_vectors(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& kernels,
                       const Tensor& x, std::span<const LinearLayer> layers) {
  const std::int64_t depth = x.dim(-1);
  const std::int64_t stride = depth + kRowPadding;
  const std::shared_ptr<float> rows = widen_rows(memory, kernels, x, stride);
  const VectorRows vectors{rows.get(), stride, static_cast<int>(x.size() / depth)};
  const std::vector<ColumnChunk> chunks = column_chunks(layers, kVectorChunk);
  const DecodedRows decoded(memory, layers, pool.num_threads(), kDecodedRows, depth);
  pool.parallel_for(std::ssize(chunks), [&](std::int64_t i, int thread) {
    multiply_chunk(kernels, vectors, chunks[static_cast<std::size_t>(i)], decoded.of(thread));
  });
}

// ---- more rows: blocked product --------------------------------------------------------------

/// Rows [begin, begin + count) of x, packed for all depths: [K / kBlockDepth][panels][depth][rows].
struct PackedRows {
  std::int64_t begin;
  std::int64_t count;
  std::int64_t panels;
  float* data;

  PanelBlock block(const GemmKernels& kernels, std::int64_t k, std::int64_t depth,
                   std::int64_t first_panel, std::int64_t num_panels) const {
    const std::int64_t width = kernels.tile_rows;
    return {data + k * panels * width + first_panel * depth * width, num_panels};
  }
};

void pack_panel(const GemmKernels& kernels, const Tensor& x, const PackedRows& packed,
                std::int64_t panel) {
  const std::int64_t depth = x.dim(-1);
  const std::size_t element = size_of(x.dtype());
  std::array<const std::byte*, kMaxPanelWidth> rows;
  for (std::int64_t k = 0; k < depth; k += kBlockDepth) {
    for (int r = 0; r < kernels.tile_rows; ++r) {
      const std::int64_t row = panel * kernels.tile_rows + r;
      rows[static_cast<std::size_t>(r)] =
          row < packed.count
              ? x.bytes() + static_cast<std::size_t>((packed.begin + row) * depth + k) * element
              : kZeroRow.data();
    }
    const std::int64_t count = std::min(kBlockDepth, depth - k);
    const PanelBlock block = packed.block(kernels, k, count, panel, 1);
    kernels.pack_left(x.dtype(), rows.data(), count, const_cast<float*>(block.data));
  }
}

/// `decoded`: room for a panel's rows of `depth`.
void pack_weight_block(const GemmKernels& kernels, const ColumnChunk& chunk, std::int64_t k,
                       std::int64_t depth, float* block, float* decoded) {
  const Weight& weight = *chunk.layer->weight;
  const auto row_at = [&](std::int64_t row, int c) {
    if (!is_encoded(weight)) return weight_at(weight, row, k);
    float* target = decoded + c * depth;
    weight.decoder->decode(row * weight.shape[1] + k, depth, target);
    return reinterpret_cast<const std::byte*>(target);
  };
  const DType dtype = is_encoded(weight) ? DType::f32 : weight.dtype;
  std::array<const std::byte*, kMaxPanelWidth> rows;
  for (std::int64_t first = 0; first < chunk.count; first += kernels.tile_columns) {
    for (int c = 0; c < kernels.tile_columns; ++c) {
      rows[static_cast<std::size_t>(c)] =
          first + c < chunk.count ? row_at(chunk.begin + first + c, c) : kZeroRow.data();
    }
    kernels.pack_right(dtype, rows.data(), depth, block + first * depth);
  }
}

/// What pack_weight_block(chunk, k) reads; nothing beyond the last k.
NextRows rows_of_block(const ColumnChunk& chunk, std::int64_t k) {
  const Weight& weight = *chunk.layer->weight;
  const std::int64_t depth = weight.shape[1];
  if (k >= depth || is_encoded(weight)) return {};
  const auto element = static_cast<std::int64_t>(size_of(weight.dtype));
  return {weight_at(weight, chunk.begin, k), depth * element,
          std::min(kBlockDepth, depth - k) * element, chunk.count};
}

/// Scratch memory of one thread.
struct Workspace {
  float* weights;  ///< [block_columns / tile_columns][kBlockDepth][tile_columns]
  float* tiles;    ///< [panels][block_columns / tile_columns][tile]
  float* decoded;  ///< [tile_columns][kBlockDepth] of an encoded weight
};

/// Panels [first, first + panels) of the packed rows times one chunk of columns.
void multiply_chunk(const GemmKernels& kernels, const PackedRows& packed, std::int64_t first,
                    std::int64_t panels, const ColumnChunk& chunk, Workspace workspace) {
  const std::int64_t depth = chunk.layer->weight->shape[1];
  const PanelBlock right{workspace.weights, ceil_div(chunk.count, kernels.tile_columns)};
  for (std::int64_t k = 0; k < depth; k += kBlockDepth) {
    const std::int64_t count = std::min(kBlockDepth, depth - k);
    pack_weight_block(kernels, chunk, k, count, workspace.weights, workspace.decoded);
    multiply_block(kernels, packed.block(kernels, k, count, first, panels), right, count, k != 0,
                   workspace.tiles, rows_of_block(chunk, k + kBlockDepth));
  }
  const Tensor& y = chunk.layer->y;
  const std::int64_t columns = chunk.layer->weight->shape[0];
  const std::int64_t row = first * kernels.tile_rows;
  const std::int64_t offset = (packed.begin + row) * columns + chunk.begin;
  store_block(kernels, workspace.tiles,
              {y.dtype(), y.bytes() + static_cast<std::size_t>(offset) * size_of(y.dtype()),
               columns, std::min(panels * kernels.tile_rows, packed.count - row), chunk.count,
               chunk.layer->bias == nullptr ? nullptr : chunk.layer->bias + chunk.begin,
               chunk.layer->terms, packed.begin + row, chunk.begin});
}

/// Into how many groups the panels are split, so that every thread has several chunks to take.
std::int64_t row_groups(const ThreadPool& pool, const GemmKernels& kernels, std::int64_t num_chunks,
                        std::int64_t panels) {
  const std::int64_t wanted = ceil_div(std::int64_t{4} * pool.num_threads(), num_chunks);
  const std::int64_t most = std::max<std::int64_t>(1, panels * kernels.tile_rows / kMinRowsOfChunk);
  return pool.num_threads() == 1 ? 1 : std::min(wanted, most);
}

void linear_of_block(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& kernels,
                     const Tensor& x, const PackedRows& packed, std::span<const LinearLayer> layers,
                     const std::vector<ColumnChunk>& chunks) {
  pool.parallel_for(packed.panels,
                    [&](std::int64_t panel, int) { pack_panel(kernels, x, packed, panel); });

  const std::int64_t groups = row_groups(pool, kernels, std::ssize(chunks), packed.panels);
  const std::int64_t group_panels = ceil_div(packed.panels, groups);
  const std::int64_t weight_floats = kBlockDepth * block_columns(kernels);
  const std::int64_t floats =
      weight_floats + group_panels * kernels.tile_rows * block_columns(kernels);
  const std::shared_ptr<float> scratch = memory.allocate_floats(floats * pool.num_threads());
  const DecodedRows decoded(memory, layers, pool.num_threads(), kernels.tile_columns, kBlockDepth);
  pool.parallel_for(std::ssize(chunks) * groups, [&](std::int64_t i, int thread) {
    float* mine = scratch.get() + thread * floats;
    const std::int64_t first = i % groups * group_panels;
    const std::int64_t panels = std::min(group_panels, packed.panels - first);
    if (panels <= 0) return;
    multiply_chunk(kernels, packed, first, panels, chunks[static_cast<std::size_t>(i / groups)],
                   {mine, mine + weight_floats, decoded.of(thread)});
  });
}

void linear_of_many(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& kernels,
                    const Tensor& x, std::span<const LinearLayer> layers) {
  const std::int64_t depth = x.dim(-1);
  const std::int64_t total = x.size() / depth;
  const std::int64_t blocks = ceil_div(total, kMaxRows);
  const std::int64_t panels = ceil_div(ceil_div(total, blocks), kernels.tile_rows);
  const std::int64_t rows = panels * kernels.tile_rows;
  const std::shared_ptr<float> packed = memory.allocate_floats(rows * depth);
  const std::vector<ColumnChunk> chunks = column_chunks(layers, block_columns(kernels));
  for (std::int64_t begin = 0; begin < total; begin += rows) {
    const std::int64_t count = std::min(rows, total - begin);
    linear_of_block(pool, memory, kernels, x,
                    {begin, count, ceil_div(count, kernels.tile_rows), packed.get()}, layers,
                    chunks);
  }
}

/// bf16 by bf16 where the processor multiplies pairs of them, K even: everything is packed and
/// multiplied as if a pair were an f32.
void linear_of_pairs(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& kernels,
                     const Tensor& x, std::span<const LinearLayer> layers) {
  GemmKernels of_pairs = kernels;
  of_pairs.multiply_tile = kernels.multiply_tile_of_pairs;
  const std::int64_t depth = x.dim(-1) / 2;
  std::vector<Weight> weights;
  weights.reserve(layers.size());  // the views point into it
  std::vector<LinearLayer> views(layers.begin(), layers.end());
  for (LinearLayer& layer : views) {
    Weight& halved = weights.emplace_back(*layer.weight);
    halved.dtype = DType::f32;
    halved.shape[1] = depth;
    layer.weight = &halved;
  }
  const Tensor pairs(DType::f32, {x.size() / x.dim(-1), depth}, x.bytes(), nullptr);
  linear_of_many(pool, memory, of_pairs, pairs, views);
}

}  // namespace

bool are_all_bf16(const Tensor& x, std::span<const LinearLayer> layers) {
  return x.dtype() == DType::bf16 && std::ranges::all_of(layers, [](const LinearLayer& layer) {
           return layer.weight->dtype == DType::bf16 && !is_encoded(*layer.weight);
         });
}

void linear(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& kernels, const Tensor& x,
            std::span<const LinearLayer> layers) {
  if (x.size() == 0) return;
  const bool has_pairs = kernels.multiply_tile_of_pairs != nullptr && x.dim(-1) % 2 == 0;
  if (x.size() / x.dim(-1) <= GemmKernels::kMaxVectors) {
    linear_of_vectors(pool, memory, kernels, x, layers);
  } else if (has_pairs && are_all_bf16(x, layers)) {
    linear_of_pairs(pool, memory, kernels, x, layers);
  } else {
    linear_of_many(pool, memory, kernels, x, layers);
  }
}

}  // namespace ernie_image::cpu
