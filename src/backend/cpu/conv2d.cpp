#include "backend/cpu/conv2d.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "backend/cpu/block_product.h"

namespace ernie_image::cpu {
namespace {

// Pixels of a chunk of work: their packed patches (96 KiB) and sums stay in the L2 cache.
constexpr std::int64_t kChunkPixels = 96;

struct ConvShape {
  std::int64_t height;
  std::int64_t width;
  std::int64_t channels;  ///< input
  std::int64_t kernel;
  std::int64_t outputs;  ///< output channels
  std::int64_t pixels;   ///< B * H * W

  std::int64_t depth() const { return kernel * kernel * channels; }
};

/// All weights packed: [depth / kBlockDepth][outputs / tile_columns][kBlockDepth][tile_columns].
struct PackedWeight {
  float* data;
  std::int64_t panels;

  float* panel(const GemmKernels& kernels, std::int64_t k, std::int64_t depth,
               std::int64_t index) const {
    return data + (k * panels + index * depth) * kernels.tile_columns;
  }
};

void pack_weight_panel(const GemmKernels& kernels, const Tensor& weight, std::int64_t index,
                       const PackedWeight& packed) {
  const std::int64_t outputs = weight.dim(0);
  const std::int64_t depth = weight.dim(1);
  std::array<const std::byte*, kMaxPanelWidth> rows;
  for (std::int64_t k = 0; k < depth; k += kBlockDepth) {
    for (int c = 0; c < kernels.tile_columns; ++c) {
      const std::int64_t output = index * kernels.tile_columns + c;
      const std::int64_t offset = output * depth + k;
      rows[static_cast<std::size_t>(c)] =
          output < outputs
              ? weight.bytes() + static_cast<std::size_t>(offset) * size_of(weight.dtype())
              : kZeroRow.data();
    }
    const std::int64_t count = std::min(kBlockDepth, depth - k);
    kernels.pack_right(weight.dtype(), rows.data(), count, packed.panel(kernels, k, count, index));
  }
}

/// A pixel at the centre of a patch.
struct Pixel {
  const std::byte* data;
  std::int64_t y;
  std::int64_t x;
};

std::vector<Pixel> pixels_of_chunk(const Tensor& x, const ConvShape& shape, std::int64_t begin,
                                   std::int64_t count) {
  std::vector<Pixel> pixels(static_cast<std::size_t>(count));
  const std::size_t pixel_bytes = static_cast<std::size_t>(shape.channels) * size_of(x.dtype());
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t index = begin + i;
    pixels[static_cast<std::size_t>(i)] = {
        x.bytes() + static_cast<std::size_t>(index) * pixel_bytes,
        index / shape.width % shape.height, index % shape.width};
  }
  return pixels;
}

/// Packs the patches of a chunk of pixels.
class PatchPacker {
 public:
  PatchPacker(const GemmKernels& kernels, const ConvShape& shape, DType dtype,
              std::vector<Pixel> pixels)
      : kernels_(kernels), shape_(shape), dtype_(dtype), pixels_(std::move(pixels)) {}

  std::int64_t panels() const { return ceil_div(std::ssize(pixels_), kernels_.tile_rows); }

  /// Depths [begin, begin + depth) of all panels: [panels][depth][tile_rows].
  void pack(std::int64_t begin, std::int64_t depth, float* block) const {
    for (std::int64_t panel = 0; panel < panels(); ++panel) {
      float* target = block + panel * depth * kernels_.tile_rows;
      std::int64_t k = begin;
      while (k < begin + depth) {  // one tap of the kernel at a time
        const std::int64_t channel = k % shape_.channels;
        const std::int64_t count = std::min(shape_.channels - channel, begin + depth - k);
        pack_tap(panel, k / shape_.channels, channel, count, target);
        target += count * kernels_.tile_rows;
        k += count;
      }
    }
  }

 private:
  void pack_tap(std::int64_t panel, std::int64_t tap, std::int64_t channel, std::int64_t count,
                float* target) const {
    const std::int64_t dy = tap / shape_.kernel - shape_.kernel / 2;
    const std::int64_t dx = tap % shape_.kernel - shape_.kernel / 2;
    const std::int64_t shift = (dy * shape_.width + dx) * shape_.channels + channel;
    const std::int64_t shift_bytes = shift * static_cast<std::int64_t>(size_of(dtype_));
    std::array<const std::byte*, kMaxPanelWidth> rows;
    for (int r = 0; r < kernels_.tile_rows; ++r) {
      const std::int64_t index = panel * kernels_.tile_rows + r;
      const bool inside = index < std::ssize(pixels_) && covers(index, dy, dx);
      rows[static_cast<std::size_t>(r)] =
          inside ? pixels_[static_cast<std::size_t>(index)].data + shift_bytes : zeros();
    }
    kernels_.pack_left(dtype_, rows.data(), count, target);
  }

  /// Whether the neighbour of the pixel lies in the image.
  bool covers(std::int64_t index, std::int64_t dy, std::int64_t dx) const {
    const Pixel& pixel = pixels_[static_cast<std::size_t>(index)];
    const std::int64_t y = pixel.y + dy;
    const std::int64_t x = pixel.x + dx;
    return y >= 0 && y < shape_.height && x >= 0 && x < shape_.width;
  }

  static const std::byte* zeros() { return kZeroRow.data(); }

  const GemmKernels& kernels_;
  const ConvShape& shape_;
  DType dtype_;
  std::vector<Pixel> pixels_;
};

/// Scratch memory of one thread.
struct Workspace {
  float* patches;  ///< [panels][kBlockDepth][tile_rows]
  float* tiles;    ///< [panels][output panels][tile]
};

void multiply_patches(const GemmKernels& kernels, const PatchPacker& patches,
                      const ConvShape& shape, const PackedWeight& weight, Workspace workspace) {
  const std::int64_t step = block_columns(kernels) / kernels.tile_columns;
  const std::int64_t tile_size = std::int64_t{kernels.tile_rows} * kernels.tile_columns;
  for (std::int64_t k = 0; k < shape.depth(); k += kBlockDepth) {
    const std::int64_t depth = std::min(kBlockDepth, shape.depth() - k);
    patches.pack(k, depth, workspace.patches);
    // Tiles of one block of columns lie together: [column blocks][panels][block panels].
    for (std::int64_t j = 0; j < weight.panels; j += step) {
      multiply_block(kernels, {workspace.patches, patches.panels()},
                     {weight.panel(kernels, k, depth, j), std::min(step, weight.panels - j)}, depth,
                     k != 0, workspace.tiles + j * patches.panels() * tile_size);
    }
  }
}

void store_outputs(const GemmKernels& kernels, const PatchPacker& patches, const ConvShape& shape,
                   const float* tiles, const float* bias, OutputBlock output) {
  const std::int64_t step = block_columns(kernels);
  for (std::int64_t j = 0; j < shape.outputs; j += step) {
    OutputBlock block = output;
    block.data += static_cast<std::size_t>(j) * size_of(output.dtype);
    block.columns = std::min(step, shape.outputs - j);
    block.bias = bias + j;
    store_block(kernels, tiles + j * patches.panels() * kernels.tile_rows, block);
  }
}

ConvShape conv_shape(const Tensor& x, const Tensor& weight, int kernel) {
  return {x.dim(1), x.dim(2), x.dim(3), kernel, weight.dim(0), x.dim(0) * x.dim(1) * x.dim(2)};
}

PackedWeight pack_weight(ThreadPool& pool, const GemmKernels& kernels, const Tensor& weight,
                         float* target) {
  const PackedWeight packed{target, ceil_div(weight.dim(0), kernels.tile_columns)};
  pool.parallel_for(packed.panels, [&](std::int64_t panel, int) {
    pack_weight_panel(kernels, weight, panel, packed);
  });
  return packed;
}

}  // namespace

Tensor reorder_conv2d_weight(const Weight& weight) {
  const std::int64_t outputs = weight.shape[0];
  const std::int64_t channels = weight.shape[1];
  const std::int64_t taps = weight.shape[2] * weight.shape[3];
  const std::size_t element = size_of(weight.dtype);
  Tensor result = Tensor::host(weight.dtype, {outputs, taps * channels});
  std::byte* target = result.bytes();
  for (std::int64_t output = 0; output < outputs; ++output) {
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      for (std::int64_t channel = 0; channel < channels; ++channel) {
        const std::int64_t source = (output * channels + channel) * taps + tap;
        std::memcpy(target, weight.data + static_cast<std::size_t>(source) * element, element);
        target += element;
      }
    }
  }
  return result;
}

void conv2d(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& kernels, const Tensor& x,
            const Tensor& weight, int kernel, const float* bias, Tensor& y) {
  const ConvShape shape = conv_shape(x, weight, kernel);
  const std::int64_t columns = ceil_div(shape.outputs, kernels.tile_columns) * kernels.tile_columns;
  const std::shared_ptr<float> weights = memory.allocate_floats(columns * shape.depth());
  const PackedWeight packed = pack_weight(pool, kernels, weight, weights.get());

  const std::int64_t rows = ceil_div(kChunkPixels, kernels.tile_rows) * kernels.tile_rows;
  const std::int64_t floats = rows * (kBlockDepth + columns);
  const std::shared_ptr<float> scratch = memory.allocate_floats(floats * pool.num_threads());
  pool.parallel_for(ceil_div(shape.pixels, rows), [&](std::int64_t chunk, int thread) {
    float* mine = scratch.get() + thread * floats;
    const Workspace workspace{mine, mine + rows * kBlockDepth};
    const std::int64_t begin = chunk * rows;
    const std::int64_t count = std::min(rows, shape.pixels - begin);
    const PatchPacker patches(kernels, shape, x.dtype(), pixels_of_chunk(x, shape, begin, count));
    multiply_patches(kernels, patches, shape, packed, workspace);
    std::byte* target =
        y.bytes() + static_cast<std::size_t>(begin * shape.outputs) * size_of(y.dtype());
    store_outputs(kernels, patches, shape, workspace.tiles, bias,
                  {y.dtype(), target, shape.outputs, count, 0, nullptr});
  });
}

}  // namespace ernie_image::cpu
