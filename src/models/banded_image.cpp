#include "models/banded_image.h"

#include <algorithm>

namespace ernie_image {
namespace {

/// [B, H, W, C] as [B, H, W * C].
Tensor flat_rows(const Tensor& x) { return x.reshaped({x.dim(0), x.dim(1), x.dim(2) * x.dim(3)}); }

}  // namespace

std::int64_t rows_of_band(std::size_t band_bytes, std::size_t row_bytes) {
  constexpr std::int64_t kUnit = 8;
  const auto rows = static_cast<std::int64_t>(band_bytes / row_bytes);
  return std::max(kUnit, rows / kUnit * kUnit);
}

Tensor crop_rows(Backend& ops, const Tensor& x, std::int64_t begin, std::int64_t count) {
  return ops.slice_rows(flat_rows(x), begin, count).reshaped({x.dim(0), count, x.dim(2), x.dim(3)});
}

Tensor crop_rows(Backend& ops, const BandedImage& picture, std::int64_t begin, std::int64_t count) {
  BandedImage parts;
  std::int64_t top = 0;
  for (const Tensor& band : picture) {
    const std::int64_t first = std::max(begin, top);
    const std::int64_t end = std::min(begin + count, top + band.dim(1));
    if (first < end) parts.push_back(crop_rows(ops, band, first - top, end - first));
    top += band.dim(1);
  }
  return joined(ops, parts);
}

Tensor joined(Backend& ops, const BandedImage& picture) {
  const Tensor& band = picture.front();
  if (picture.size() == 1) return band;
  Tensor whole = flat_rows(band);
  for (std::size_t i = 1; i < picture.size(); ++i)
    whole = ops.concat_rows(whole, flat_rows(picture[i]));
  return whole.reshaped({band.dim(0), whole.dim(1), band.dim(2), band.dim(3)});
}

BandedImage cut_for_channels(Backend& ops, const Tensor& x, std::int64_t channels,
                             std::size_t band_bytes) {
  const std::int64_t height = x.dim(1);
  const std::size_t pixel_bytes = static_cast<std::size_t>(channels) * size_of(x.dtype());
  const std::size_t row_bytes = static_cast<std::size_t>(x.dim(0) * x.dim(2)) * pixel_bytes;
  const std::int64_t rows = rows_of_band(band_bytes, row_bytes);
  if (!ops.takes_bands() || rows >= height) return {x};
  BandedImage bands;
  for (std::int64_t top = 0; top < height; top += rows)
    bands.push_back(crop_rows(ops, x, top, std::min(rows, height - top)));
  return bands;
}

BandedImage merged(Backend& ops, BandedImage x, std::size_t band_bytes) {
  BandedImage result;
  for (Tensor& band : x) {
    if (band.dim(1) == 0) continue;  // half of a last row
    const bool joins =
        !result.empty() && (result.back().dim(1) % 2 != 0 ||
                            result.back().size_bytes() + band.size_bytes() <= band_bytes);
    if (joins) {
      result.back() = joined(ops, {std::exchange(result.back(), {}), std::exchange(band, {})});
    } else {
      result.push_back(std::exchange(band, {}));
    }
  }
  return result;
}

BandedImage cut_for_upsampling(Backend& ops, BandedImage x, std::size_t band_bytes) {
  if (!ops.takes_bands()) return x;
  BandedImage bands;
  for (Tensor& band : x) {
    const std::int64_t height = band.dim(1);
    const std::size_t row_bytes = 4 * band.size_bytes() / static_cast<std::size_t>(height);
    const std::int64_t rows = rows_of_band(band_bytes, row_bytes);
    if (rows >= height) {
      bands.push_back(std::move(band));
      continue;
    }
    for (std::int64_t top = 0; top < height; top += rows)
      bands.push_back(crop_rows(ops, band, top, std::min(rows, height - top)));
    band = {};
  }
  return bands;
}

}  // namespace ernie_image
