#include "models/vae_memory.h"

#include <algorithm>

namespace ernie_image {
namespace {

double bytes_of(const VaeExtent& extent, std::int64_t channels) {
  return static_cast<double>(extent.batch * extent.rows * extent.width * channels) *
         static_cast<double>(size_of(extent.dtype));
}

/// What a 3x3 convolution on the CPU holds besides its tensors (backend/cpu/convolution.h): filters
/// in 36 points, and of a chunk of 4 x 24 tiles the pixels below, the transformed tiles and the
/// sums.
double scratch_bytes(std::int64_t inputs, std::int64_t outputs) {
  constexpr std::int64_t kPoints = 36, kTiles = 96, kPixels = 18 * 98, kSpacing = 16;
  const std::int64_t floats = kPoints * inputs * outputs + kPixels * (inputs + kSpacing) +
                              kPoints * kTiles * (inputs + outputs);
  return static_cast<double>(floats) * sizeof(float);
}

/// Share of a picture that is one of the bands which upsampling makes.
double band_share(const VaeExtent& upsampled, std::int64_t channels, std::size_t band_bytes) {
  const double row_bytes = bytes_of(upsampled, channels) / static_cast<double>(upsampled.rows);
  const std::int64_t rows = 2 * rows_of_band(band_bytes, static_cast<std::size_t>(2 * row_bytes));
  return std::min(1.0, static_cast<double>(rows) / static_cast<double>(upsampled.rows));
}

/// The first convolution of a block whose widths differ: x goes while h and the shortcut come.
double shortcut_bytes(double x, double y, double share) {
  return share == 1.0 ? x + 2 * y : std::max(x + 4 * share * y, 2 * y + 2 * share * x);
}

}  // namespace

std::uint64_t up_block_bytes(const VaeConfig& config, std::size_t index, const VaeExtent& extent,
                             std::size_t band_bytes) {
  const auto& widths = config.block_out_channels;
  const std::size_t level = widths.size() - 1 - index;
  const std::int64_t outputs = widths[level];
  const std::int64_t inputs = index == 0 ? outputs : widths[level + 1];
  const double x = bytes_of(extent, inputs);
  const double y = bytes_of(extent, outputs);
  const double share = index == 0 ? 1.0 : band_share(extent, inputs, band_bytes);

  // The second convolution holds the shortcut, its input, and a band of its output.
  double peak = (2 + share) * y + scratch_bytes(outputs, outputs);
  if (inputs != outputs)
    peak = std::max(peak, shortcut_bytes(x, y, share) + scratch_bytes(inputs, outputs));
  if (level > 0) {
    const double upsampled = band_share(extent.upsampled(), outputs, band_bytes);
    const double rest = upsampled == 1.0 ? y : 2 * upsampled * y;
    peak = std::max(peak, 4 * y + rest + scratch_bytes(outputs, outputs));
  }
  return static_cast<std::uint64_t>(peak);
}

std::uint64_t vae_decoder_bytes(const VaeConfig& config, std::int64_t batch, std::int64_t h,
                                std::int64_t w, DType dtype) {
  VaeExtent extent{batch, 2 * h, 2 * w, dtype};
  std::uint64_t peak = 0;
  for (std::size_t i = 0; i < config.block_out_channels.size(); ++i) {
    peak = std::max(peak, up_block_bytes(config, i, extent, kBandBytes));
    extent = extent.upsampled();
  }
  return peak;
}

}  // namespace ernie_image
