#include "backend/cpu/block_product.h"

#include <algorithm>

namespace ernie_image::cpu {
void multiply_block(const GemmKernels& kernels, PanelBlock left, PanelBlock right,
                    std::int64_t depth, bool accumulate, float* tiles, const NextRows& next) {
  const std::int64_t tile_size = std::int64_t{kernels.tile_rows} * kernels.tile_columns;
  RowPrefetcher prefetcher(next, left.panels * right.panels);
  for (std::int64_t i = 0; i < left.panels; ++i) {
    const float* left_panel = left.data + i * depth * kernels.tile_rows;
    for (std::int64_t j = 0; j < right.panels; ++j) {
      prefetcher.advance();
      kernels.multiply_tile(left_panel, right.data + j * depth * kernels.tile_columns, depth,
                            accumulate, tiles + (i * right.panels + j) * tile_size);
    }
  }
}

void store_block(const GemmKernels& kernels, const float* tiles, const OutputBlock& output) {
  const std::int64_t rows = kernels.tile_rows;
  const std::int64_t columns = kernels.tile_columns;
  const std::size_t element = size_of(output.dtype);
  for (std::int64_t i = 0; i < output.rows; i += rows) {
    for (std::int64_t j = 0; j < output.columns; j += columns) {
      TileStore store;
      store.source = tiles;
      store.source_stride = columns;
      store.rows = static_cast<int>(std::min(rows, output.rows - i));
      store.columns = static_cast<int>(std::min(columns, output.columns - j));
      store.bias = output.bias == nullptr ? nullptr : output.bias + j;
      store.dtype = output.dtype;
      store.target = output.data + static_cast<std::size_t>(i * output.stride + j) * element;
      store.target_stride = output.stride;
      set_terms(store, output.terms, output.row + i, output.column + j);
      kernels.store_tile(store);
      tiles += rows * columns;
    }
  }
}

}  // namespace ernie_image::cpu
