#include "backend/cpu/packed_linear.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "backend/cpu/block_product.h"

namespace ernie_image::cpu {
namespace {

constexpr std::int64_t kBlock = PackedLayout::kBlockDepth;
constexpr std::int64_t kColumns = PackedKernels::kTileColumns;

// Along K, what is multiplied at a time. 8 panels of it, 137 KiB of 8-bit codes, stay in the L2
// cache of a core while all rows pass by, a panel of which (12 KiB at most) stays in L1.
constexpr std::int64_t kRangeDepth = 1024;
constexpr std::int64_t kChunkPanels = 8;

// Outputs of one row a chunk: 64 a chunk are 40 microseconds or more at real sizes.
constexpr std::int64_t kRowChunkPanels = 4;

// Rows whose results are held in float at a time, a multiple of the tiles of every kernel set and
// of the token counts of square pictures.
constexpr std::int64_t kMaxRows = 1056;

// A chunk of work below this is not worth handing to another thread.
constexpr std::int64_t kMinRowsOfChunk = 48;

// Rows of a chunk: a range of their codes and their tiles are 800 KB, which a core's L2 cache of 1
// or 2 MB has room for beside the weights.
constexpr std::int64_t kMaxRowsOfChunk = 540;

/// Panels [first, first + count) of one layer.
struct PanelChunk {
  const PackedLayer* layer;
  std::int64_t first;
  std::int64_t count;

  const std::byte* record(std::int64_t panel) const {
    return layer->data + static_cast<std::size_t>(first + panel) * layer->layout.record_bytes();
  }
  /// The scales of the 16 outputs of a panel.
  const float* row_scales(std::int64_t panel) const {
    const PackedLayout& layout = layer->layout;
    return reinterpret_cast<const float*>(record(panel) + layout.row_scale_offset());
  }
};

std::vector<PanelChunk> panel_chunks(std::span<const PackedLayer> layers, std::int64_t width) {
  std::vector<PanelChunk> chunks;
  for (const PackedLayer& layer : layers) {
    for (std::int64_t first = 0; first < layer.layout.panels; first += width)
      chunks.push_back({&layer, first, std::min(width, layer.layout.panels - first)});
  }
  return chunks;
}

// ---- activations -----------------------------------------------------------------------------

/// Rows [begin, begin + count) of x as codes and scales: for each range of depth, panels of `width`
/// rows: [ranges][panels][range depth / 4][width][4], and scales [ranges][panels][range
/// blocks][width].
struct QuantizedRows {
  QuantizedRows(CpuMemoryPool& memory, std::int64_t rows, std::int64_t row_width,
                std::int64_t row_depth)
      : width(row_width),
        panels(ceil_div(rows, row_width)),
        depth(row_depth),
        codes_(memory.allocate(static_cast<std::size_t>(panels * width * depth))),
        scales_(memory.allocate_floats(panels * width * ceil_div(depth, kBlock))) {}

  std::int64_t range_depth(std::int64_t k) const { return std::min(kRangeDepth, depth - k); }

  std::uint8_t* codes(std::int64_t k, std::int64_t panel) const {
    return reinterpret_cast<std::uint8_t*>(codes_.get()) +
           (k * panels + panel * range_depth(k)) * width;
  }
  float* scales(std::int64_t k, std::int64_t panel) const {
    const std::int64_t range_blocks = ceil_div(range_depth(k), kBlock);
    return scales_.get() + (k / kBlock * panels + panel * range_blocks) * width;
  }

  std::int64_t width;
  std::int64_t panels;
  std::int64_t depth;

 private:
  std::shared_ptr<std::byte> codes_;
  std::shared_ptr<float> scales_;
};

/// Rows beyond the last get codes and scales of zero.
void clear_panel(const QuantizedRows& rows, std::int64_t panel) {
  for (std::int64_t k = 0; k < rows.depth; k += kRangeDepth) {
    const std::int64_t depth = rows.range_depth(k);
    std::fill_n(rows.codes(k, panel), depth * rows.width, std::uint8_t{0});
    std::fill_n(rows.scales(k, panel), ceil_div(depth, kBlock) * rows.width, 0.0f);
  }
}

void quantize_row(const PackedKernels& kernels, const Tensor& x, const PackedLayout& layout,
                  std::int64_t row, const QuantizedRows& target, std::int64_t target_row) {
  const std::int64_t panel = target_row / target.width, lane = target_row % target.width;
  const float norm = 1.0f / std::sqrt(static_cast<float>(layout.rotation));
  for (std::int64_t k = 0; k < layout.depth; k += kRangeDepth) {
    const std::int64_t depth = target.range_depth(k);
    const std::size_t element = size_of(x.dtype());
    kernels.quantize_row(
        {x.dtype(), x.bytes() + static_cast<std::size_t>(row * layout.inputs + k) * element,
         std::min(depth, layout.inputs - k), depth, layout.rotation, norm},
        {target.codes(k, panel) + lane * 4, target.scales(k, panel) + lane, target.width});
  }
}

void quantize_panel(const PackedKernels& kernels, const Tensor& x, const PackedLayout& layout,
                    std::int64_t begin, std::int64_t count, const QuantizedRows& target,
                    std::int64_t panel) {
  const std::int64_t first = panel * target.width;
  if (first + target.width > count) clear_panel(target, panel);
  for (std::int64_t row = first; row < std::min(first + target.width, count); ++row)
    quantize_row(kernels, x, layout, begin + row, target, row);
}

// ---- results ---------------------------------------------------------------------------------

/// Columns of panel `panel` of a chunk, `rows` rows from `row` on, times the row scales of the
/// weight.
void store_tile(const GemmKernels& gemm, const PanelChunk& chunk, std::int64_t panel,
                const float* tile, std::int64_t row, std::int64_t rows) {
  const PackedLayer& layer = *chunk.layer;
  const std::int64_t columns = layer.layout.outputs;
  const std::int64_t column = (chunk.first + panel) * kColumns;
  TileStore store;
  store.source = tile;
  store.source_stride = kColumns;
  store.rows = static_cast<int>(rows);
  store.columns = static_cast<int>(std::min(kColumns, columns - column));
  store.scale = chunk.row_scales(panel);
  store.bias = layer.bias == nullptr ? nullptr : layer.bias + column;
  store.dtype = layer.y.dtype();
  store.target =
      layer.y.bytes() + static_cast<std::size_t>(row * columns + column) * size_of(layer.y.dtype());
  store.target_stride = columns;
  set_terms(store, layer.terms, row, column);
  gemm.store_tile(store);
}

// ---- one row: the weights are streamed ---------------------------------------------------------

void linear_of_row(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& gemm,
                   const PackedKernels& kernels, const Tensor& x,
                   std::span<const PackedLayer> layers) {
  const PackedLayout& first = layers[0].layout;
  const QuantizedRows row(memory, 1, 1, first.depth);
  if (!x.is_booked()) quantize_row(kernels, x, first, 0, row, 0);
  const std::vector<PanelChunk> chunks = panel_chunks(layers, kRowChunkPanels);
  pool.parallel_for(std::ssize(chunks), [&](std::int64_t i, int) {
    const PanelChunk& chunk = chunks[static_cast<std::size_t>(i)];
    const bool int8 = chunk.layer->layout.format == WeightFormat::packed_int8;
    for (std::int64_t panel = 0; panel < chunk.count; ++panel) {
      alignas(64) float result[kColumns];
      const PackedOperands operands{row.codes(0, 0), row.scales(0, 0), chunk.record(panel),
                                    row.depth};
      (int8 ? kernels.multiply_row8 : kernels.multiply_row4)(operands, result);
      store_tile(gemm, chunk, panel, result, 0, 1);
    }
  });
}

// ---- more rows: blocked product --------------------------------------------------------------

/// Scratch memory of one thread.
struct Workspace {
  std::byte* unpacked;   ///< [kChunkPanels][blocks of a range], of 4-bit codes
  std::int32_t* totals;  ///< [2][tile]
  float* tiles;          ///< [panels of rows][panels of the chunk][tile]
};

/// The blocks of a chunk's panels from depth k on, `stride` bytes from panel to panel.
struct ChunkBlocks {
  const std::byte* data;
  std::size_t stride;
  std::int64_t run = 0;  ///< of PackedKernels::multiply_pair, if there is that
};

NextRows stored_blocks(const PanelChunk& chunk, std::int64_t k, std::int64_t depth) {
  const PackedLayout& layout = chunk.layer->layout;
  const std::size_t block = layout.block_bytes(kBlock);
  return {chunk.record(0) + static_cast<std::size_t>(k / kBlock) * block,
          static_cast<std::int64_t>(layout.record_bytes()),
          ceil_div(depth, kBlock) * static_cast<std::int64_t>(block), chunk.count};
}

ChunkBlocks blocks_of(const PackedKernels& kernels, const PanelChunk& chunk, std::int64_t k,
                      std::int64_t depth, std::byte* unpacked) {
  const PackedLayout& layout = chunk.layer->layout;
  const ChunkBlocks stored{stored_blocks(chunk, k, depth).data, layout.record_bytes()};
  if (layout.format == WeightFormat::packed_int8) return stored;
  const PackedLayout wide(WeightFormat::packed_int8, {layout.outputs, layout.inputs});
  const ChunkBlocks result{
      unpacked, static_cast<std::size_t>(ceil_div(depth, kBlock)) * wide.block_bytes(kBlock)};
  for (std::int64_t panel = 0; panel < chunk.count; ++panel) {
    const std::byte* source = stored.data + static_cast<std::size_t>(panel) * stored.stride;
    std::byte* target = unpacked + static_cast<std::size_t>(panel) * result.stride;
    for (std::int64_t begin = 0; begin < depth; begin += kBlock) {
      const std::int64_t count = std::min(kBlock, depth - begin);
      kernels.unpack_block(source, count, target);
      source += layout.block_bytes(count);
      target += wide.block_bytes(count);
    }
  }
  return result;
}

/// Whether groups of each `run` along K have the same scales in a block of 8-bit codes.
bool has_runs(const std::byte* block, std::int64_t depth, std::int64_t run) {
  const std::byte* scales = block + depth * kColumns;
  const std::int64_t groups = depth / PackedLayout::kGroupDepth;
  const std::int64_t run_groups = run / PackedLayout::kGroupDepth;
  for (std::int64_t group = 0; group < groups; ++group) {
    const std::int64_t first = group / run_groups * run_groups;
    if (std::memcmp(scales + group * kColumns, scales + first * kColumns, kColumns) != 0)
      return false;
  }
  return true;
}

/// The longest run that all blocks have.
std::int64_t common_run(const ChunkBlocks& blocks, std::int64_t panels, std::int64_t depth) {
  const PackedLayout wide(WeightFormat::packed_int8, {kColumns, kRangeDepth});
  std::int64_t run = kBlock;
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    const std::byte* block = blocks.data + static_cast<std::size_t>(panel) * blocks.stride;
    for (std::int64_t begin = 0; begin < depth; begin += kBlock) {
      const std::int64_t count = std::min(kBlock, depth - begin);
      while (!has_runs(block, count, run)) run /= 2;
      block += wide.block_bytes(count);
    }
  }
  return run;
}

/// Hands rows that will be read next to multiply_pair, some lines for each call.
class AheadOfPairs {
 public:
  AheadOfPairs(const NextRows& rows, std::int64_t depth)
      : rows_(rows), bytes_(depth / PackedKernels::kDepthOfLine * kLineBytes) {}

  std::int64_t calls() const { return rows_.count * ceil_div(rows_.bytes, bytes_); }

  void set(PackedOperands& operands) {
    operands.ahead = operands.blocks;
    operands.ahead_step = 0;
    if (row_ >= rows_.count) return;
    operands.ahead = rows_.data + row_ * rows_.stride_bytes + offset_;
    operands.ahead_step = kLineBytes;
    offset_ += bytes_;
    if (offset_ < rows_.bytes) return;
    offset_ = 0;
    ++row_;
  }

 private:
  static constexpr std::int64_t kLineBytes = 64;

  NextRows rows_;
  std::int64_t bytes_;
  std::int64_t row_ = 0;
  std::int64_t offset_ = 0;
};

/// Panels [first, first + panels) of the rows times one chunk of outputs; meanwhile the next blocks
/// of weights come near, at last those of `next`, which may be null.
void multiply_chunk(const PackedKernels& kernels, const QuantizedRows& rows, std::int64_t first,
                    std::int64_t panels, const PanelChunk& chunk, const PanelChunk* next,
                    const Workspace& workspace) {
  const bool int8 = chunk.layer->layout.format == WeightFormat::packed_int8;
  const auto multiply = int8 ? kernels.multiply_tile8 : kernels.multiply_tile4;
  const std::int64_t tile_floats = rows.width * kColumns;
  for (std::int64_t k = 0; k < rows.depth; k += kRangeDepth) {
    const std::int64_t depth = rows.range_depth(k);
    ChunkBlocks blocks = blocks_of(kernels, chunk, k, depth, workspace.unpacked);
    if (kernels.multiply_pair != nullptr) blocks.run = common_run(blocks, chunk.count, depth);
    const std::int64_t then = k + depth;
    NextRows coming;
    if (then < rows.depth)
      coming = stored_blocks(chunk, then, rows.range_depth(then));
    else if (next != nullptr)
      coming = stored_blocks(*next, 0, rows.range_depth(0));
    // Lines that the pairs bring along do not stop their loads; with few rows there is no time.
    const std::int64_t calls = panels * (chunk.count / 2);
    AheadOfPairs ahead(coming, depth);
    const bool along = blocks.run > 0 && calls >= ahead.calls();
    if (!along) ahead = AheadOfPairs({}, depth);
    RowPrefetcher prefetcher(along ? NextRows() : coming, panels * ceil_div(chunk.count, 2));
    float* tile = workspace.tiles;
    for (std::int64_t row_panel = first; row_panel < first + panels; ++row_panel) {
      PackedOperands operands{rows.codes(k, row_panel), rows.scales(k, row_panel), nullptr, depth};
      for (std::int64_t panel = 0; panel < chunk.count;) {
        operands.blocks = blocks.data + static_cast<std::size_t>(panel) * blocks.stride;
        const bool pair = blocks.run > 0 && panel + 1 < chunk.count;
        if (panel % 2 == 0) prefetcher.advance();
        if (pair) {
          ahead.set(operands);
          kernels.multiply_pair(operands, static_cast<std::int64_t>(blocks.stride), blocks.run,
                                k != 0, workspace.totals, tile);
        } else {
          multiply(operands, k != 0, workspace.totals, tile);
        }
        panel += pair ? 2 : 1;
        tile += (pair ? 2 : 1) * tile_floats;
      }
    }
  }
}

void store_chunk(const GemmKernels& gemm, const PanelChunk& chunk, const float* tiles,
                 std::int64_t width, std::int64_t row, std::int64_t rows) {
  for (std::int64_t i = 0; i < rows; i += width) {
    for (std::int64_t panel = 0; panel < chunk.count; ++panel) {
      store_tile(gemm, chunk, panel, tiles, row + i, std::min(width, rows - i));
      tiles += width * kColumns;
    }
  }
}

/// Into how many groups the panels of rows are split, so that every thread has several chunks to
/// take and none is too large for its cache.
std::int64_t row_groups(const ThreadPool& pool, std::int64_t width, std::int64_t num_chunks,
                        std::int64_t panels) {
  const std::int64_t wanted = ceil_div(std::int64_t{4} * pool.num_threads(), num_chunks);
  const std::int64_t most = std::max<std::int64_t>(1, panels * width / kMinRowsOfChunk);
  const std::int64_t least = ceil_div(panels * width, kMaxRowsOfChunk);
  return pool.num_threads() == 1 ? least : std::max(least, std::min(wanted, most));
}

/// The scratch memory of all threads, one block each.
class Workspaces {
 public:
  Workspaces(CpuMemoryPool& memory, int threads, std::int64_t width, std::int64_t panels)
      : tile_bytes_(static_cast<std::size_t>(width * kColumns) * sizeof(float)),
        bytes_(unpacked_bytes() +
               tile_bytes_ * static_cast<std::size_t>(2 + panels * kChunkPanels)),
        data_(memory.allocate(bytes_ * static_cast<std::size_t>(threads))) {}

  Workspace of(int thread) const {
    std::byte* mine = data_.get() + bytes_ * static_cast<std::size_t>(thread);
    std::byte* totals = mine + unpacked_bytes();
    return {mine, reinterpret_cast<std::int32_t*>(totals),
            reinterpret_cast<float*>(totals + 2 * tile_bytes_)};
  }

 private:
  static std::size_t unpacked_bytes() {
    const PackedLayout wide(WeightFormat::packed_int8, {kColumns, kRangeDepth});
    return wide.block_bytes(kBlock) * (kRangeDepth / kBlock) * kChunkPanels;
  }

  std::size_t tile_bytes_;
  std::size_t bytes_;
  std::shared_ptr<std::byte> data_;
};

void linear_of_rows(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& gemm,
                    const PackedKernels& kernels, const Tensor& x, std::int64_t begin,
                    std::int64_t count, std::span<const PackedLayer> layers) {
  const PackedLayout& layout = layers[0].layout;
  const QuantizedRows rows(memory, count, kernels.tile_rows, layout.depth);
  pool.parallel_for(rows.panels, [&](std::int64_t panel, int) {
    quantize_panel(kernels, x, layout, begin, count, rows, panel);
  });
  const std::vector<PanelChunk> chunks = panel_chunks(layers, kChunkPanels);
  const std::int64_t groups = row_groups(pool, rows.width, std::ssize(chunks), rows.panels);
  const std::int64_t group_panels = ceil_div(rows.panels, groups);
  const Workspaces workspaces(memory, pool.num_threads(), rows.width, group_panels);
  pool.parallel_for(std::ssize(chunks) * groups, [&](std::int64_t i, int thread) {
    const PanelChunk& chunk = chunks[static_cast<std::size_t>(i / groups)];
    const std::int64_t first = i % groups * group_panels;
    const std::int64_t panels = std::min(group_panels, rows.panels - first);
    if (panels <= 0) return;
    const Workspace workspace = workspaces.of(thread);
    const auto likely = static_cast<std::size_t>((i + pool.num_threads()) / groups);
    const PanelChunk* next = likely < chunks.size() ? &chunks[likely] : nullptr;
    multiply_chunk(kernels, rows, first, panels, chunk, next, workspace);
    const std::int64_t row = first * rows.width;
    store_chunk(gemm, chunk, workspace.tiles, rows.width, begin + row,
                std::min(panels * rows.width, count - row));
  });
}

}  // namespace

void packed_linear(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& gemm,
                   const PackedKernels& kernels, const Tensor& x,
                   std::span<const PackedLayer> layers) {
  if (x.size() == 0 || layers.empty()) return;
  const std::int64_t total = x.size() / x.dim(-1);
  if (total == 1) return linear_of_row(pool, memory, gemm, kernels, x, layers);
  const std::int64_t passes = ceil_div(total, kMaxRows);
  const std::int64_t panels = ceil_div(ceil_div(total, passes), kernels.tile_rows);
  const std::int64_t rows = panels * kernels.tile_rows;
  for (std::int64_t begin = 0; begin < total; begin += rows) {
    linear_of_rows(pool, memory, gemm, kernels, x, begin, std::min(rows, total - begin), layers);
  }
}

}  // namespace ernie_image::cpu
