// The product of a block of packed left panels with a block of packed right panels: what linear
// layers and convolutions share.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "backend/cpu/gemm.h"

namespace ernie_image::cpu {

// 256 x 96 f32 of the right-hand side are 96 KiB: they are packed into the L2 cache of a core,
// which has room for the rows to be packed next too, and stay there while all left panels pass by,
// each of which (12 KiB at most) stays in L1.
constexpr std::int64_t kBlockDepth = 256;
constexpr std::int64_t kMaxBlockColumns = 96;
constexpr std::int64_t kMaxPanelWidth = 64;

/// What rows beyond the edge of a matrix are packed from.
alignas(64) inline constexpr std::array<std::byte, kBlockDepth * sizeof(float)> kZeroRow{};

/// For a rectangle that begins at (row, column) of a layer's result.
inline void set_terms(TileStore& store, std::span<const AddedTerm> terms, std::int64_t row,
                      std::int64_t column) {
  store.terms = terms.data();
  store.num_terms = terms.size();
  store.row = row;
  store.column = column;
}

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// As many whole panels as kMaxBlockColumns has room for.
inline std::int64_t block_columns(const GemmKernels& kernels) {
  return kMaxBlockColumns / kernels.tile_columns * kernels.tile_columns;
}

/// `panels` panels one after another, each [depth][tile_rows or tile_columns].
struct PanelBlock {
  const float* data;
  std::int64_t panels;
};

/// `count` rows of `bytes` each that will be read next.
struct NextRows {
  const std::byte* data = nullptr;
  std::int64_t stride_bytes = 0;
  std::int64_t bytes = 0;
  std::int64_t count = 0;
};

/// Brings rows into the L2 cache, some lines at a time.
class RowPrefetcher {
 public:
  /// All of the rows come with `times` calls of advance().
  RowPrefetcher(const NextRows& rows, std::int64_t times)
      : rows_(rows), lines_(ceil_div(rows.count * ceil_div(rows.bytes, kLineBytes), times)) {}

  void advance() {
    for (std::int64_t i = 0; i < lines_ && row_ < rows_.count; ++i) {
      __builtin_prefetch(rows_.data + row_ * rows_.stride_bytes + offset_, 0, 2);
      offset_ += kLineBytes;
      if (offset_ >= rows_.bytes) {
        offset_ = 0;
        ++row_;
      }
    }
  }

 private:
  static constexpr std::int64_t kLineBytes = 64;

  NextRows rows_;
  std::int64_t lines_;
  std::int64_t row_ = 0;
  std::int64_t offset_ = 0;
};

/// tiles[left.panels][right.panels] = (or +=) the products, each tile contiguous. What is to be
/// read next comes near meanwhile, a few lines for each tile: with few left panels the time to read
/// it from memory would be felt.
void multiply_block(const GemmKernels& kernels, PanelBlock left, PanelBlock right,
                    std::int64_t depth, bool accumulate, float* tiles, const NextRows& next);

/// Where a block of tiles goes; rows and columns need not fill the last tiles.
struct OutputBlock {
  DType dtype;
  std::byte* data;      ///< of the first row and column
  std::int64_t stride;  ///< elements
  std::int64_t rows;
  std::int64_t columns;
  const float* bias;  ///< [columns], or null
  std::span<const AddedTerm> terms = {};
  std::int64_t row = 0;  ///< where the block begins in the terms' result
  std::int64_t column = 0;
};

/// tiles: [ceil(rows / tile_rows)][ceil(columns / tile_columns)].
void store_block(const GemmKernels& kernels, const float* tiles, const OutputBlock& output);

}  // namespace ernie_image::cpu
