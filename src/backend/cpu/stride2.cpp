#include "backend/cpu/stride2.h"

#include <algorithm>
#include <array>

#include "backend/cpu/block_product.h"

namespace ernie_image::cpu {
namespace {

constexpr std::int64_t kTaps = 9;

/// Pixels of a chunk of work: with a block of filters their panels fill a second-level cache.
constexpr std::int64_t kChunkPixels = 96;

/// Input channels whose taps are as many as kZeroRow is long.
constexpr std::int64_t kTapChannels = kBlockDepth / kTaps;

/// Where the panels of a filter lie, its depth 9 C cut into blocks.
struct PanelLayout {
  std::int64_t depth;   ///< 9 C
  std::int64_t panels;  ///< of outputs
  std::int64_t width;   ///< tile_columns

  std::int64_t depth_of_block(std::int64_t k) const { return std::min(kBlockDepth, depth - k); }
  /// Of depth k, the first of a block.
  std::int64_t panel_offset(std::int64_t k, std::int64_t panel) const {
    return (k * panels + panel * depth_of_block(k)) * width;
  }
  std::int64_t row_offset(std::int64_t k, std::int64_t panel) const {
    const std::int64_t block = k / kBlockDepth * kBlockDepth;
    return panel_offset(block, panel) + (k - block) * width;
  }
};

PanelLayout layout_of(const GemmKernels& gemm, std::int64_t inputs, std::int64_t outputs) {
  return {kTaps * inputs, ceil_div(outputs, gemm.tile_columns), gemm.tile_columns};
}

/// All of one panel of outputs: packed as the file has it, by input channel and then tap, and each
/// row moved to where it belongs.
void pack_filter_panel(const GemmKernels& gemm, const Weight& weight, const PanelLayout& layout,
                       std::int64_t panel, float* target) {
  const std::int64_t channels = weight.shape[1];
  alignas(64) std::array<float, kTapChannels * kTaps * kMaxPanelWidth> packed;
  std::array<const std::byte*, kMaxPanelWidth> rows;
  for (std::int64_t first = 0; first < channels; first += kTapChannels) {
    const std::int64_t count = std::min(kTapChannels, channels - first);
    for (std::int64_t c = 0; c < layout.width; ++c) {
      const std::int64_t output = panel * layout.width + c;
      const auto offset = static_cast<std::size_t>((output * channels + first) * kTaps);
      rows[static_cast<std::size_t>(c)] =
          output < weight.shape[0] ? weight.data + offset * size_of(weight.dtype) : kZeroRow.data();
    }
    gemm.pack_right(weight.dtype, rows.data(), count * kTaps, packed.data());
    for (std::int64_t i = 0; i < count * kTaps; ++i) {
      const std::int64_t k = i % kTaps * channels + first + i / kTaps;
      std::copy_n(packed.data() + i * layout.width, layout.width,
                  target + layout.row_offset(k, panel));
    }
  }
}

/// The matrix whose rows are windows of the picture: row i has the 3 x 3 pixels [9][C] below and
/// right of pixel (2 oy, 2 ox), i counting output pixels.
class Windows {
 public:
  Windows(const ImageBand& x, const Tensor& y)
      : x_(x), channels_(x.rows.dim(3)), height_(y.dim(1)), width_(y.dim(2)) {}

  /// Channels [channel, ...) of one tap of a window; zeros beyond the picture.
  const std::byte* at(std::int64_t window, std::int64_t tap, std::int64_t channel) const {
    const std::int64_t row = 2 * (window / width_ % height_) + tap / 3;
    const std::int64_t column = 2 * (window % width_) + tap % 3;
    const bool inside = row < x_.rows.dim(1);
    if (column >= x_.rows.dim(2) || (!inside && x_.below == nullptr)) return kZeroRow.data();
    const Tensor& band = inside ? x_.rows : *x_.below;
    const std::int64_t image = window / width_ / height_;
    const std::int64_t line = image * band.dim(1) + (inside ? row : row - x_.rows.dim(1));
    const std::int64_t offset = (line * band.dim(2) + column) * channels_ + channel;
    return band.bytes() + offset * static_cast<std::int64_t>(size_of(band.dtype()));
  }

  /// Columns [k, k + depth) of rows [first, first + tile_rows), those from `end` on being zero.
  void pack_panel(const GemmKernels& gemm, std::int64_t first, std::int64_t end, std::int64_t k,
                  std::int64_t depth, float* panel) const {
    std::array<const std::byte*, kMaxPanelWidth> rows;
    for (std::int64_t done = 0; done < depth;) {
      const std::int64_t tap = (k + done) / channels_, channel = (k + done) % channels_;
      const std::int64_t count = std::min(channels_ - channel, depth - done);
      for (std::int64_t r = 0; r < gemm.tile_rows; ++r) {
        rows[static_cast<std::size_t>(r)] =
            first + r < end ? at(first + r, tap, channel) : kZeroRow.data();
      }
      gemm.pack_left(x_.rows.dtype(), rows.data(), count, panel + done * gemm.tile_rows);
      done += count;
    }
  }

 private:
  const ImageBand& x_;
  std::int64_t channels_, height_, width_;
};

/// One convolution: what every chunk of its pixels needs.
class Convolution {
 public:
  Convolution(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& gemm,
              const Stride2Conv& job)
      : pool_(pool),
        gemm_(gemm),
        job_(job),
        windows_(job.x, job.y),
        filters_(layout_of(gemm, job.x.rows.dim(3), job.y.dim(3))),
        pixels_(job.y.size() / job.y.dim(3)) {
    const std::int64_t share = ceil_div(pixels_, std::int64_t{4} * pool.num_threads());
    panels_ = std::max<std::int64_t>(1, std::min(share, kChunkPixels) / gemm.tile_rows);
    left_floats_ = panels_ * gemm.tile_rows * kBlockDepth;
    scratch_floats_ = left_floats_ + panels_ * gemm.tile_rows * filters_.panels * filters_.width;
    scratch_ = memory.allocate_floats(scratch_floats_ * pool.num_threads());
  }

  void run() {
    const std::int64_t rows = panels_ * gemm_.tile_rows;
    pool_.parallel_for(ceil_div(pixels_, rows), [&](std::int64_t chunk, int thread) {
      float* const left = scratch_.get() + thread * scratch_floats_;
      const std::int64_t first = chunk * rows, end = std::min(first + rows, pixels_);
      multiply(first, end, left, left + left_floats_);
      store(first, end, left + left_floats_);
    });
  }

 private:
  /// Output panels that are multiplied together: those of a block.
  std::int64_t group() const { return block_columns(gemm_) / filters_.width; }

  /// tiles: [groups][panels of pixels][panels of the group][tile].
  void multiply(std::int64_t first, std::int64_t end, float* left, float* tiles) {
    const std::int64_t panels = ceil_div(end - first, gemm_.tile_rows);
    for (std::int64_t k = 0; k < filters_.depth; k += kBlockDepth) {
      const std::int64_t depth = filters_.depth_of_block(k);
      for (std::int64_t i = 0; i < panels; ++i) {
        windows_.pack_panel(gemm_, first + i * gemm_.tile_rows, end, k, depth,
                            left + i * depth * gemm_.tile_rows);
      }
      for (std::int64_t output = 0; output < filters_.panels; output += group()) {
        const std::int64_t count = std::min(group(), filters_.panels - output);
        multiply_block(gemm_, {left, panels},
                       {job_.weights + filters_.panel_offset(k, output), count}, depth, k != 0,
                       tiles + output * panels * gemm_.tile_rows * filters_.width, {});
      }
    }
  }

  void store(std::int64_t first, std::int64_t end, const float* tiles) {
    Tensor& y = job_.y;
    const std::int64_t panels = ceil_div(end - first, gemm_.tile_rows), outputs = y.dim(3);
    for (std::int64_t output = 0; output < filters_.panels; output += group()) {
      const std::int64_t column = output * filters_.width;
      const auto offset = static_cast<std::size_t>(first * outputs + column);
      store_block(gemm_, tiles + column * panels * gemm_.tile_rows,
                  {y.dtype(), y.bytes() + offset * size_of(y.dtype()), outputs, end - first,
                   std::min(group() * filters_.width, outputs - column), job_.bias + column});
    }
  }

  ThreadPool& pool_;
  const GemmKernels& gemm_;
  const Stride2Conv& job_;
  const Windows windows_;
  const PanelLayout filters_;
  const std::int64_t pixels_;
  std::int64_t panels_;  ///< of pixels, of a chunk
  std::int64_t left_floats_, scratch_floats_;
  std::shared_ptr<float> scratch_;
};

}  // namespace

std::shared_ptr<float> stride2_weights(ThreadPool& pool, CpuMemoryPool& memory,
                                       const GemmKernels& gemm, const Weight& weight) {
  const PanelLayout layout = layout_of(gemm, weight.shape[1], weight.shape[0]);
  const std::shared_ptr<float> result =
      memory.allocate_floats(layout.depth * layout.panels * layout.width);
  pool.parallel_for(layout.panels, [&](std::int64_t panel, int) {
    pack_filter_panel(gemm, weight, layout, panel, result.get());
  });
  return result;
}

void conv2d_stride2(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& gemm,
                    const Stride2Conv& job) {
  if (job.y.size() == 0) return;
  Convolution(pool, memory, gemm, job).run();
}

}  // namespace ernie_image::cpu
