#include "backend/cpu/encoded_linear.h"

#include <algorithm>
#include <array>
#include <vector>

#include "backend/cpu/block_product.h"

namespace ernie_image::cpu {
namespace {

constexpr std::int64_t kRows = EncodedKernels::kTileRows;
constexpr std::int64_t kOutputs = EncodedKernels::kPanelOutputs;
constexpr std::int64_t kRange = EncodedKernels::kRangeDepth;
constexpr std::int64_t kGroup = EncodedKernels::kGroupDepth;

// Panels that pass by the same rows of a range, which the L2 cache holds meanwhile.
constexpr std::int64_t kChunkPanels = 4;

// Rows that are rounded at a time: half the tokens of a picture of 512 x 512, a multiple of a tile.
constexpr std::int64_t kMaxRows = 528;

// A chunk of work below this is not worth handing to another thread.
constexpr std::int64_t kMinRowsOfChunk = 48;

/// Outputs [begin, begin + count) of one layer.
struct OutputChunk {
  const LinearLayer* layer;
  std::int64_t begin;
  std::int64_t count;

  std::int64_t panels() const { return ceil_div(count, kOutputs); }
};

std::vector<OutputChunk> output_chunks(std::span<const LinearLayer> layers, std::int64_t width) {
  std::vector<OutputChunk> chunks;
  for (const LinearLayer& layer : layers) {
    const std::int64_t outputs = layer.weight->shape[0];
    for (std::int64_t begin = 0; begin < outputs; begin += width)
      chunks.push_back({&layer, begin, std::min(width, outputs - begin)});
  }
  return chunks;
}

// ---- few rows: weights are streamed ------------------------------------------------------------

// Weight rows of a chunk.
constexpr std::int64_t kVectorChunk = 64;

/// Rows of x, rounded to 16 bits.
class RoundedVectors {
 public:
  RoundedVectors(CpuMemoryPool& memory, std::int64_t rows, std::int64_t depth)
      : groups_(ceil_div(depth, EncodedKernels::kVectorDepth) * EncodedKernels::kVectorDepth /
                kGroup),
        data_(memory.allocate(EncodedKernels::kBytesOfVectorGroup *
                              static_cast<std::size_t>(groups_ * rows))) {}

  EncodedKernels::Vector row(std::int64_t row) const {
    std::byte* mine =
        data_.get() + EncodedKernels::kBytesOfVectorGroup * static_cast<std::size_t>(groups_ * row);
    auto* high = reinterpret_cast<std::int8_t*>(mine);
    auto* scales = reinterpret_cast<float*>(high + 2 * kGroup * groups_);
    return {high, high + kGroup * groups_, scales, scales + 2 * groups_, scales + 3 * groups_};
  }

 private:
  std::int64_t groups_;
  std::shared_ptr<std::byte> data_;
};

void multiply_vectors(const GemmKernels& gemm, const EncodedKernels& kernels,
                      const RoundedVectors& vectors, int count, const OutputChunk& chunk) {
  const LinearLayer& layer = *chunk.layer;
  const Weight& weight = *layer.weight;
  std::array<const std::byte*, kVectorChunk> rows;
  for (std::int64_t i = 0; i < chunk.count; ++i) {
    rows[static_cast<std::size_t>(i)] = weight.decoder->block_row(chunk.begin + i, weight.shape[1]);
  }
  alignas(64) std::array<float, GemmKernels::kMaxVectors * kVectorChunk> result;
  for (int row = 0; row < count; ++row) {
    kernels.multiply_vector(weight.decoder->block_format(), vectors.row(row), rows.data(),
                            static_cast<int>(chunk.count), weight.shape[1],
                            result.data() + row * kVectorChunk);
  }
  TileStore store;
  store.source = result.data();
  store.source_stride = kVectorChunk;
  store.rows = count;
  store.columns = static_cast<int>(chunk.count);
  store.bias = layer.bias == nullptr ? nullptr : layer.bias + chunk.begin;
  store.dtype = layer.y.dtype();
  store.target = layer.y.bytes() + static_cast<std::size_t>(chunk.begin) * size_of(layer.y.dtype());
  store.target_stride = weight.shape[0];
  set_terms(store, layer.terms, 0, chunk.begin);
  gemm.store_tile(store);
}

void linear_of_vectors(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& gemm,
                       const EncodedKernels& kernels, const Tensor& x,
                       std::span<const LinearLayer> layers) {
  const std::int64_t depth = x.dim(-1), count = x.size() / depth;
  const RoundedVectors vectors(memory, count, depth);
  for (std::int64_t row = 0; row < count && !x.is_booked(); ++row) {
    kernels.quantize_vector(x.dtype(),
                            x.bytes() + static_cast<std::size_t>(row * depth) * size_of(x.dtype()),
                            depth, vectors.row(row));
  }
  const std::vector<OutputChunk> chunks = output_chunks(layers, kVectorChunk);
  pool.parallel_for(std::ssize(chunks), [&](std::int64_t i, int) {
    multiply_vectors(gemm, kernels, vectors, static_cast<int>(count),
                     chunks[static_cast<std::size_t>(i)]);
  });
}

// ---- more rows: blocked product ----------------------------------------------------------------

/// Rows of x, rounded: for each range of depth, panels of kRows rows.
class RoundedRows {
 public:
  RoundedRows(CpuMemoryPool& memory, std::int64_t rows, std::int64_t depth)
      : panels_(ceil_div(rows, kRows)),
        depth_(depth),
        data_(memory.allocate(EncodedKernels::kBytesOfRowGroup *
                              static_cast<std::size_t>(panels_ * kRows * (depth / kGroup)))) {}

  std::int64_t panels() const { return panels_; }
  std::int64_t depth() const { return depth_; }
  std::int64_t range_depth(std::int64_t k) const { return std::min(kRange, depth_ - k); }

  EncodedKernels::Rows range(std::int64_t k, std::int64_t panel) const {
    const std::int64_t row_groups = range_depth(k) / kGroup * kRows;
    std::byte* codes = data_.get() + EncodedKernels::kBytesOfRowGroup *
                                         static_cast<std::size_t>(k / kGroup * kRows * panels_ +
                                                                  panel * row_groups);
    float* scales = reinterpret_cast<float*>(codes + row_groups * kGroup);
    return {reinterpret_cast<std::int8_t*>(codes), scales,
            reinterpret_cast<std::int32_t*>(scales + row_groups), scales + 4 * row_groups};
  }

 private:
  std::int64_t panels_;
  std::int64_t depth_;
  std::shared_ptr<std::byte> data_;
};

/// Rows [begin, begin + count) of x; those of the last panel that are not there repeat the last.
void round_panel(const EncodedKernels& kernels, const Tensor& x, std::int64_t begin,
                 std::int64_t count, const RoundedRows& target, std::int64_t panel) {
  for (std::int64_t lane = 0; lane < kRows; ++lane) {
    const std::int64_t row = begin + std::min(panel * kRows + lane, count - 1);
    for (std::int64_t k = 0; k < target.depth(); k += kRange) {
      const auto element = static_cast<std::size_t>(row * target.depth() + k);
      kernels.quantize_row(x.dtype(), x.bytes() + element * size_of(x.dtype()),
                           target.range_depth(k), target.range(k, panel), static_cast<int>(lane));
    }
  }
}

/// Scratch memory of one thread.
struct Workspace {
  EncodedKernels::Panel panel;
  float* tiles;  ///< [panels of the chunk][panels of rows][tile]
};

class Workspaces {
 public:
  Workspaces(CpuMemoryPool& memory, int threads, std::int64_t row_panels)
      : bytes_(EncodedKernels::kPanelBytes +
               sizeof(float) *
                   static_cast<std::size_t>(kChunkPanels * row_panels * kRows * kOutputs)),
        data_(memory.allocate(bytes_ * static_cast<std::size_t>(threads))) {}

  Workspace of(int thread) const {
    constexpr std::int64_t kGroups = kRange / kGroup;
    std::byte* codes = data_.get() + bytes_ * static_cast<std::size_t>(thread);
    float* scales = reinterpret_cast<float*>(codes + kOutputs * kRange);
    float* minima = scales + 2 * kOutputs * kGroups;
    return {{codes, scales, minima}, minima + kOutputs * kGroups};
  }

 private:
  std::size_t bytes_;
  std::shared_ptr<std::byte> data_;
};

/// Where the rows of a chunk's weights lie; beyond the last output it repeats.
using ChunkRows = std::array<const std::byte*, kChunkPanels * kOutputs>;

ChunkRows rows_of(const OutputChunk& chunk) {
  const Weight& weight = *chunk.layer->weight;
  ChunkRows rows;
  for (std::int64_t i = 0; i < std::ssize(rows); ++i) {
    rows[static_cast<std::size_t>(i)] =
        weight.decoder->block_row(chunk.begin + std::min(i, chunk.count - 1), weight.shape[1]);
  }
  return rows;
}

/// Panels [first, first + panels) of the rows times one chunk of outputs.
void multiply_chunk(const EncodedKernels& kernels, const RoundedRows& rows, std::int64_t first,
                    std::int64_t panels, const OutputChunk& chunk, const Workspace& workspace) {
  const BlockFormat format = chunk.layer->weight->decoder->block_format();
  const BlockShape shape = block_shape(format);
  ChunkRows at = rows_of(chunk);
  for (std::int64_t k = 0; k < rows.depth(); k += kRange) {
    const std::int64_t depth = rows.range_depth(k);
    float* tile = workspace.tiles;
    for (std::int64_t panel = 0; panel < chunk.panels(); ++panel) {
      kernels.decode(format, at.data() + panel * kOutputs, depth, workspace.panel);
      for (std::int64_t i = 0; i < panels; ++i, tile += kRows * kOutputs) {
        kernels.multiply_tile(format, rows.range(k, first + i), workspace.panel, depth, k != 0,
                              tile);
      }
    }
    for (const std::byte*& row : at) row += depth / shape.weights * shape.bytes;
  }
}

/// `count` rows from row `row` of the results on.
void store_chunk(const GemmKernels& gemm, const OutputChunk& chunk, const float* tiles,
                 std::int64_t row, std::int64_t count) {
  const LinearLayer& layer = *chunk.layer;
  const std::int64_t columns = layer.weight->shape[0];
  for (std::int64_t panel = 0; panel < chunk.panels(); ++panel) {
    const std::int64_t column = chunk.begin + panel * kOutputs;
    for (std::int64_t i = 0; i < count; i += kRows, tiles += kRows * kOutputs) {
      TileStore store;
      store.source = tiles;
      store.source_stride = kOutputs;
      store.rows = static_cast<int>(std::min(kRows, count - i));
      store.columns = static_cast<int>(std::min(kOutputs, columns - column));
      store.bias = layer.bias == nullptr ? nullptr : layer.bias + column;
      store.dtype = layer.y.dtype();
      store.target = layer.y.bytes() + static_cast<std::size_t>((row + i) * columns + column) *
                                           size_of(layer.y.dtype());
      store.target_stride = columns;
      set_terms(store, layer.terms, row + i, column);
      gemm.store_tile(store);
    }
  }
}

/// Into how many groups the panels of rows are split, so that every thread has several chunks to
/// take.
std::int64_t row_groups(const ThreadPool& pool, std::int64_t num_chunks, std::int64_t panels) {
  const std::int64_t wanted = ceil_div(std::int64_t{4} * pool.num_threads(), num_chunks);
  const std::int64_t most = std::max<std::int64_t>(1, panels * kRows / kMinRowsOfChunk);
  return pool.num_threads() == 1 ? 1 : std::min(wanted, most);
}

void linear_of_rows(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& gemm,
                    const EncodedKernels& kernels, const Tensor& x, std::int64_t begin,
                    std::int64_t count, std::span<const LinearLayer> layers) {
  const RoundedRows rows(memory, count, x.dim(-1));
  pool.parallel_for(rows.panels(), [&](std::int64_t panel, int) {
    round_panel(kernels, x, begin, count, rows, panel);
  });
  const std::vector<OutputChunk> chunks = output_chunks(layers, kChunkPanels * kOutputs);
  const std::int64_t groups = row_groups(pool, std::ssize(chunks), rows.panels());
  const std::int64_t group_panels = ceil_div(rows.panels(), groups);
  const Workspaces workspaces(memory, pool.num_threads(), group_panels);
  pool.parallel_for(std::ssize(chunks) * groups, [&](std::int64_t i, int thread) {
    const OutputChunk& chunk = chunks[static_cast<std::size_t>(i / groups)];
    const std::int64_t first = i % groups * group_panels;
    const std::int64_t panels = std::min(group_panels, rows.panels() - first);
    if (panels <= 0) return;
    const Workspace workspace = workspaces.of(thread);
    multiply_chunk(kernels, rows, first, panels, chunk, workspace);
    store_chunk(gemm, chunk, workspace.tiles, begin + first * kRows,
                std::min(panels * kRows, count - first * kRows));
  });
}

}  // namespace

bool takes_blocks(const EncodedKernels& kernels, const Weight& weight) {
  if (kernels.decode == nullptr || weight.format != WeightFormat::encoded) return false;
  return weight.shape.size() == 2 && weight.decoder->block_format() != BlockFormat::none &&
         weight.decoder->block_row(0, weight.shape[1]) != nullptr;
}

void encoded_linear(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& gemm,
                    const EncodedKernels& kernels, const Tensor& x,
                    std::span<const LinearLayer> layers) {
  if (x.size() == 0 || layers.empty()) return;
  const std::int64_t total = x.size() / x.dim(-1);
  if (total <= GemmKernels::kMaxVectors)
    return linear_of_vectors(pool, memory, gemm, kernels, x, layers);
  const std::int64_t passes = ceil_div(total, kMaxRows);
  const std::int64_t rows = ceil_div(ceil_div(total, passes), kRows) * kRows;
  for (std::int64_t begin = 0; begin < total; begin += rows)
    linear_of_rows(pool, memory, gemm, kernels, x, begin, std::min(rows, total - begin), layers);
}

}  // namespace ernie_image::cpu
