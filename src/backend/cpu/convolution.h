// 3x3 convolution by Winograd's minimal filtering F(4x4, 3x3): a tile of 6 x 6 inputs gives 4 x 4
// outputs with 36 products in place of 144, the products being those of 36 independent matrices:
//
//   Y = A^T [ (G g G^T) * (B^T d B) ] A      summed over input channels at the *
//
// The polynomial is evaluated at 0, +-3/4, +-3/2 and infinity. The usual points, 0, +-1 and +-2,
// cost the same and lose three times the accuracy; with these the error is some twice that of the
// plain sum in float (docs/numerics.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "backend/backend.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/memory_pool.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "core/weight.h"

namespace ernie_image {

/// The functions that depend on the instruction set; the products are GemmKernels::multiply_tile.
struct WinogradKernels {
  static constexpr int kOutputs = 4;  ///< pixels of a tile each way
  static constexpr int kInputs = 6;
  static constexpr int kPoints = kInputs * kInputs;
  static constexpr int kTaps = 9;

  /// A row of pixels to be widened to float and, if `mean` is not null, to become
  /// silu((x - mean) * factor + bias), rounded after each of the two.
  struct Row {
    const std::byte* source;  ///< pixels [width][channels] of the activation dtype
    std::int64_t channels;
    const float* mean;  ///< [channels], as are the next two
    const float* factor;
    const float* bias;
    float* target;                 ///< [width * repeat][stride]
    std::int64_t stride;           ///< floats
    std::int64_t padded_channels;  ///< zeros are written up to here
    std::int64_t width;
    int repeat;  ///< 2: each pixel twice
  };

  /// One row of 4 x 4 outputs for each tile.
  struct Outputs {
    const float* sums;  ///< [kPoints][point_stride], tile_columns floats of each
    std::int64_t point_stride;
    const float* bias;  ///< [channels]
    int channels;       ///< at most tile_columns
    int height;         ///< of the 4 x 4 pixels, those inside of the picture
    int width;
    std::byte* target;  ///< the first pixel, of the activation dtype
    /// To be added to the rounded result, and laid out like it; or null.
    const std::byte* residual;
    std::int64_t row_stride;  ///< elements
    std::int64_t pixel_stride;
  };

  std::int64_t lanes;  ///< channels are padded to a multiple of this

  void (*stage_f32)(const Row& row);
  void (*stage_bf16)(const Row& row);

  /// Left panels [kPoints][panel_stride], each [channels][tile_rows] and some lanes more that are
  /// overwritten, of tile_rows tiles whose upper left pixels are given.
  void (*transform_inputs)(const float* const* tiles, std::int64_t row_stride,
                           std::int64_t pixel_stride, std::int64_t channels, float* panels,
                           std::int64_t panel_stride);

  /// Right panels [kPoints][panel_stride], each [channels][tile_columns], of taps
  /// [channels][kTaps][tile_columns].
  void (*transform_weights)(const float* taps, std::int64_t channels, float* panels,
                            std::int64_t panel_stride);

  void (*transform_outputs_f32)(const Outputs& outputs);
  void (*transform_outputs_bf16)(const Outputs& outputs);
};

/// Defined in convolution.inc.h.
template <class V>
WinogradKernels make_winograd_kernels();

namespace cpu {

/// GroupNorm as an affine map by image and channel, ahead of silu.
struct InputNorm {
  const float* mean;    ///< [B, C]
  const float* factor;  ///< [B, C]
  const float* bias;    ///< [C]
};

struct Conv3x3 {
  ImageBand x;
  std::optional<InputNorm> norm;
  bool upsample = false;             ///< each pixel stands for 2 x 2
  const float* weights = nullptr;    ///< from winograd_weights
  const float* bias = nullptr;       ///< [C_out]
  const Tensor* residual = nullptr;  ///< or null
  Tensor& y;                         ///< [B, H, W, C_out]
};

/// The transformed filters of a weight [C_out, C_in, 3, 3]: as right panels
/// [kPoints][C_out / tile_columns][C_in][tile_columns], four times the weight's size in f32.
std::shared_ptr<float> winograd_weights(ThreadPool& pool, CpuMemoryPool& memory,
                                        const GemmKernels& gemm, const WinogradKernels& kernels,
                                        const Weight& weight);

void winograd_conv2d(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& gemm,
                     const WinogradKernels& kernels, const Conv3x3& job);

}  // namespace cpu
}  // namespace ernie_image
