// Pictures as bands of rows, so that what is used up can be freed while what is made from it grows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "backend/backend.h"

namespace ernie_image {

/// Bands of rows, top to bottom, each [B, rows, W, C]. A small picture is a single band.
using BandedImage = std::vector<Tensor>;

/// Of a band: large enough that the rows it needs of its neighbours hardly count. The result does
/// not depend on it but for the order of some sums.
constexpr std::size_t kBandBytes = std::size_t{64} << 20;

/// How a picture is cut while it is decoded, so that it takes less memory.
struct DecodeBands {
  std::size_t band_bytes = kBandBytes;
  /// The blocks from this one on see overlapping bands of the picture, which are blended: their
  /// norms are those of a band.
  std::size_t whole_blocks = SIZE_MAX;
  /// Of the input of the first such block.
  std::int64_t strip_rows = 0;

  bool operator==(const DecodeBands&) const = default;
};

/// Rows of a band of at most `band_bytes`, in whole tiles of convolutions.
std::int64_t rows_of_band(std::size_t band_bytes, std::size_t row_bytes);

/// Rows [begin, begin + count) of [B, H, W, C].
Tensor crop_rows(Backend& ops, const Tensor& x, std::int64_t begin, std::int64_t count);

/// The same of all its bands together.
Tensor crop_rows(Backend& ops, const BandedImage& picture, std::int64_t begin, std::int64_t count);

/// The picture in one band.
Tensor joined(Backend& ops, const BandedImage& picture);

/// Cuts the bands so far that doubling each pixel both ways gives bands of at most `band_bytes`.
/// Nothing is cut for a backend that takes whole pictures only.
BandedImage cut_for_upsampling(Backend& ops, BandedImage x, std::size_t band_bytes);

/// A picture in bands each of which has at most `band_bytes` once it has `channels` channels.
BandedImage cut_for_channels(Backend& ops, const Tensor& x, std::int64_t channels,
                             std::size_t band_bytes);

/// Neighbours put together as long as they have at most `band_bytes`, and further until every band
/// but the last has an even number of rows; none is without rows.
BandedImage merged(Backend& ops, BandedImage x, std::size_t band_bytes);

/// `convolve(band, index)` of one band after another; those of x are freed as soon as no later one
/// borders on them.
template <class Convolve>
BandedImage by_bands(Backend& ops, BandedImage x, Convolve convolve) {
  BandedImage y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const ImageBand band = {x[i], i > 0 ? &x[i - 1] : nullptr,
                            i + 1 < x.size() ? &x[i + 1] : nullptr};
    y.push_back(convolve(band, i));
    if (i == 0) continue;
    const bool reusable = x[i - 1].size_bytes() == y[i - 1].size_bytes();
    x[i - 1] = {};
    if (!reusable) ops.sizes_change();
  }
  return y;
}

}  // namespace ernie_image
