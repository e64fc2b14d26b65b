#include "backend/cpu/convolution.h"

#include <algorithm>
#include <array>

#include "backend/cpu/block_product.h"

namespace ernie_image::cpu {
namespace {

constexpr std::int64_t kOutputs = WinogradKernels::kOutputs;
constexpr std::int64_t kPoints = WinogradKernels::kPoints;
constexpr std::int64_t kHalo = WinogradKernels::kInputs - WinogradKernels::kOutputs;

// Floats to spare after each run of pixels, panels or points: rows whose distance is a multiple of
// 4 KiB would compete for the same lines of the first-level cache.
constexpr std::int64_t kSpacing = 16;

/// Tiles of a chunk. Filters of 512 channels are 38 MB, more than caches hold, and are read once
/// for each chunk: 96 tiles do enough with them, and more would only push each other out of the
/// cache.
std::int64_t chunk_tiles(int threads) { return std::clamp<std::int64_t>(48 * threads, 96, 384); }

constexpr std::int64_t round_up(std::int64_t n, std::int64_t unit) {
  return ceil_div(n, unit) * unit;
}

/// Where a chunk of the picture lies: `rows` x `columns` tiles from tile (row, column) of an image.
struct Chunk {
  std::int64_t image;
  std::int64_t row;
  std::int64_t column;
  std::int64_t rows;
  std::int64_t columns;

  std::int64_t tiles() const { return rows * columns; }
};

/// The picture cut into chunks of about as many tiles as `wanted`.
class ChunkGrid {
 public:
  ChunkGrid(const Tensor& y, std::int64_t wanted)
      : images_(y.dim(0)),
        tile_rows_(ceil_div(y.dim(1), kOutputs)),
        tile_columns_(ceil_div(y.dim(2), kOutputs)) {
    // Wide rather than high: rows of the picture are read in long runs.
    const std::int64_t widest = std::max<std::int64_t>(1, wanted / 4);
    columns_ = ceil_div(tile_columns_, ceil_div(tile_columns_, widest));
    rows_ = std::clamp<std::int64_t>(wanted / columns_, 1, tile_rows_);
    rows_ = ceil_div(tile_rows_, ceil_div(tile_rows_, rows_));
  }

  std::int64_t max_tiles() const { return rows_ * columns_; }
  std::int64_t max_rows() const { return rows_; }
  std::int64_t max_columns() const { return columns_; }

  template <class Visit>
  void for_each(Visit visit) const {
    for (std::int64_t image = 0; image < images_; ++image) {
      for (std::int64_t row = 0; row < tile_rows_; row += rows_) {
        for (std::int64_t column = 0; column < tile_columns_; column += columns_) {
          visit(Chunk{image, row, column, std::min(rows_, tile_rows_ - row),
                      std::min(columns_, tile_columns_ - column)});
        }
      }
    }
  }

 private:
  std::int64_t images_, tile_rows_, tile_columns_, rows_, columns_;
};

/// Sizes of the buffers, in floats.
struct Layout {
  std::int64_t channels;        ///< input channels, padded to whole vectors
  std::int64_t outputs;         ///< output channels
  std::int64_t left_width;      ///< tiles of a left panel
  std::int64_t right_width;     ///< output channels of a right panel
  std::int64_t staged_columns;  ///< pixels of a staged row

  std::int64_t pixel_stride() const { return channels + kSpacing; }
  std::int64_t row_stride() const { return staged_columns * pixel_stride(); }
  std::int64_t left_panel() const { return channels * left_width + kSpacing; }
  std::int64_t right_panel() const { return channels * right_width; }
  std::int64_t right_panels() const { return ceil_div(outputs, right_width); }
  std::int64_t tile() const { return left_width * right_width; }
};

/// One convolution: what every phase of every chunk needs.
class Convolution {
 public:
  Convolution(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& gemm,
              const WinogradKernels& kernels, const Conv3x3& job)
      : pool_(pool),
        gemm_(gemm),
        kernels_(kernels),
        job_(job),
        grid_(job.y, chunk_tiles(pool.num_threads())) {
    layout_ = {round_up(job.x.rows.dim(3), kernels.lanes), job.y.dim(3), gemm.tile_rows,
               gemm.tile_columns, kOutputs * grid_.max_columns() + kHalo};
    const std::int64_t panels = ceil_div(grid_.max_tiles(), layout_.left_width);
    const std::int64_t staged = (kOutputs * grid_.max_rows() + kHalo) * layout_.row_stride();
    const std::int64_t left = panels * kPoints * layout_.left_panel();
    const std::int64_t sums = panels * kPoints * layout_.right_panels() * layout_.tile();
    scratch_ = memory.allocate_floats(staged + left + sums);
    staged_ = scratch_.get();
    left_ = staged_ + staged;
    sums_ = left_ + left;
  }

  void run() {
    grid_.for_each([&](const Chunk& chunk) {
      stage(chunk);
      transform_inputs(chunk);
      multiply(chunk);
      transform_outputs(chunk);
    });
  }

 private:
  // ---- stage: the rows under a chunk, in float, with the zeros around the picture ---------------

  void stage(const Chunk& chunk) {
    pool_.parallel_for(kOutputs * chunk.rows + kHalo, [&](std::int64_t row, int) {
      stage_row(chunk, kOutputs * chunk.row + row - kHalo / 2,
                staged_ + row * layout_.row_stride());
    });
  }

  void stage_row(const Chunk& chunk, std::int64_t y, float* target) {
    const std::int64_t width = job_.y.dim(2);
    const std::int64_t first = kOutputs * chunk.column - kHalo / 2;
    const std::int64_t end = first + kOutputs * chunk.columns + kHalo;
    const std::byte* source = row_of(chunk.image, y);
    const std::int64_t stride = layout_.pixel_stride();
    if (source == nullptr) return clear(target, end - first);
    const std::int64_t inside_begin = std::max<std::int64_t>(first, 0);
    const std::int64_t inside_end = std::min(end, width);
    clear(target, inside_begin - first);
    stage_pixels(chunk.image, source, inside_begin, inside_end,
                 target + (inside_begin - first) * stride);
    clear(target + (inside_end - first) * stride, end - inside_end);
  }

  void clear(float* target, std::int64_t pixels) {
    std::fill_n(target, pixels * layout_.pixel_stride(), 0.0f);
  }

  /// Row y of the (upsampled) picture; null outside of it.
  const std::byte* row_of(std::int64_t image, std::int64_t y) const;

  void stage_pixels(std::int64_t image, const std::byte* source, std::int64_t begin,
                    std::int64_t end, float* target);

  // ---- the tiles' transforms and products
  // --------------------------------------------------------

  float* left_panel(std::int64_t panel, std::int64_t point) const {
    return left_ + (panel * kPoints + point) * layout_.left_panel();
  }
  /// Sums of a panel of tiles and a panel of outputs: [kPoints][tile].
  float* sums(std::int64_t panels, std::int64_t panel, std::int64_t output_panel) const {
    return sums_ + (output_panel * panels + panel) * kPoints * layout_.tile();
  }
  std::int64_t panels_of(const Chunk& chunk) const {
    return ceil_div(chunk.tiles(), layout_.left_width);
  }

  void transform_inputs(const Chunk& chunk) {
    pool_.parallel_for(panels_of(chunk), [&](std::int64_t panel, int) {
      std::array<const float*, kMaxPanelWidth> tiles;
      for (std::int64_t r = 0; r < layout_.left_width; ++r) {
        // Beyond the last tile: that one again, whose results nobody reads.
        const std::int64_t tile = std::min(panel * layout_.left_width + r, chunk.tiles() - 1);
        tiles[static_cast<std::size_t>(r)] =
            staged_ + tile / chunk.columns * kOutputs * layout_.row_stride() +
            tile % chunk.columns * kOutputs * layout_.pixel_stride();
      }
      kernels_.transform_inputs(tiles.data(), layout_.row_stride(), layout_.pixel_stride(),
                                layout_.channels, left_panel(panel, 0), layout_.left_panel());
    });
  }

  void multiply(const Chunk& chunk) {
    constexpr std::int64_t kGroup = 8;  // output panels of a unit of work
    const std::int64_t groups = ceil_div(layout_.right_panels(), kGroup);
    pool_.parallel_for(kPoints * groups, [&](std::int64_t unit, int) {
      const std::int64_t first = unit % groups * kGroup;
      const std::int64_t end = std::min(first + kGroup, layout_.right_panels());
      for (std::int64_t output = first; output < end; ++output)
        multiply_panel(panels_of(chunk), unit / groups, output);
    });
  }

  /// A right panel stays in the first-level cache while all left panels of the point pass by.
  void multiply_panel(std::int64_t panels, std::int64_t point, std::int64_t output) {
    const float* right =
        job_.weights + (point * layout_.right_panels() + output) * layout_.right_panel();
    for (std::int64_t k = 0; k < layout_.channels; k += kBlockDepth) {
      const std::int64_t depth = std::min(kBlockDepth, layout_.channels - k);
      for (std::int64_t panel = 0; panel < panels; ++panel) {
        gemm_.multiply_tile(left_panel(panel, point) + k * layout_.left_width,
                            right + k * layout_.right_width, depth, k != 0,
                            sums(panels, panel, output) + point * layout_.tile());
      }
    }
  }

  void transform_outputs(const Chunk& chunk) {
    pool_.parallel_for(chunk.tiles(), [&](std::int64_t tile, int) {
      for (std::int64_t output = 0; output < layout_.right_panels(); ++output)
        store_tile(chunk, tile, output);
    });
  }

  void store_tile(const Chunk& chunk, std::int64_t tile, std::int64_t output);

  ThreadPool& pool_;
  const GemmKernels& gemm_;
  const WinogradKernels& kernels_;
  const Conv3x3& job_;
  const ChunkGrid grid_;
  Layout layout_;
  std::shared_ptr<float> scratch_;
  float* staged_;  ///< [rows][columns][channels + kSpacing]
  float* left_;    ///< [panels of tiles][kPoints][left_panel]
  float* sums_;    ///< [panels of outputs][panels of tiles][kPoints][tile]
};

const std::byte* Convolution::row_of(std::int64_t image, std::int64_t y) const {
  const Tensor& rows = job_.x.rows;
  const std::int64_t height = rows.dim(1);
  const std::int64_t source = job_.upsample ? (y < 0 ? -1 : y / 2) : y;
  const Tensor* band = &rows;
  std::int64_t row = source;
  if (source < 0) {
    band = job_.x.above;
    row = band == nullptr ? 0 : band->dim(1) + source;
  } else if (source >= height) {
    band = source == height ? job_.x.below : nullptr;
    row = source - height;
  }
  if (band == nullptr) return nullptr;
  const std::int64_t offset = (image * band->dim(1) + row) * band->dim(2) * band->dim(3);
  return band->bytes() + offset * static_cast<std::int64_t>(size_of(band->dtype()));
}

void Convolution::stage_pixels(std::int64_t image, const std::byte* source, std::int64_t begin,
                               std::int64_t end, float* target) {
  const Tensor& x = job_.x.rows;
  const std::int64_t channels = x.dim(3);
  WinogradKernels::Row row = {};
  row.channels = channels;
  if (job_.norm) {
    row.mean = job_.norm->mean + image * channels;
    row.factor = job_.norm->factor + image * channels;
    row.bias = job_.norm->bias;
  }
  row.stride = layout_.pixel_stride();
  row.padded_channels = layout_.channels;
  const auto run = x.dtype() == DType::bf16 ? kernels_.stage_bf16 : kernels_.stage_f32;
  const auto stage_run = [&](std::int64_t from, std::int64_t width, int repeat) {
    row.source = source + from * channels * static_cast<std::int64_t>(size_of(x.dtype()));
    row.target = target;
    row.width = width;
    row.repeat = repeat;
    run(row);
    target += width * repeat * row.stride;
  };
  if (!job_.upsample) return stage_run(begin, end - begin, 1);
  if (begin % 2 != 0) stage_run(begin / 2, 1, 1);  // the right half of a doubled pixel
  const std::int64_t first = (begin + 1) / 2;
  stage_run(first, end / 2 - first, 2);
  if (end % 2 != 0) stage_run(end / 2, 1, 1);
}

void Convolution::store_tile(const Chunk& chunk, std::int64_t tile, std::int64_t output) {
  Tensor& y = job_.y;
  const std::int64_t row = (chunk.row + tile / chunk.columns) * kOutputs;
  const std::int64_t column = (chunk.column + tile % chunk.columns) * kOutputs;
  const std::int64_t channel = output * layout_.right_width;
  const std::int64_t pixel = (chunk.image * y.dim(1) + row) * y.dim(2) + column;
  const std::int64_t offset =
      (pixel * layout_.outputs + channel) * static_cast<std::int64_t>(size_of(y.dtype()));
  WinogradKernels::Outputs o = {};
  o.sums = sums(panels_of(chunk), tile / layout_.left_width, output) +
           tile % layout_.left_width * layout_.right_width;
  o.point_stride = layout_.tile();
  o.bias = job_.bias + channel;
  o.channels = static_cast<int>(std::min(layout_.right_width, layout_.outputs - channel));
  o.height = static_cast<int>(std::min(kOutputs, y.dim(1) - row));
  o.width = static_cast<int>(std::min(kOutputs, y.dim(2) - column));
  o.target = y.bytes() + offset;
  o.residual = job_.residual == nullptr ? nullptr : job_.residual->bytes() + offset;
  o.row_stride = y.dim(2) * layout_.outputs;
  o.pixel_stride = layout_.outputs;
  if (y.dtype() == DType::bf16) {
    kernels_.transform_outputs_bf16(o);
  } else {
    kernels_.transform_outputs_f32(o);
  }
}

}  // namespace

void winograd_conv2d(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& gemm,
                     const WinogradKernels& kernels, const Conv3x3& job) {
  if (job.y.size() == 0) return;
  Convolution(pool, memory, gemm, kernels, job).run();
}

}  // namespace ernie_image::cpu
