// Structural similarity of two pictures, at one scale and at several.
#pragma once

#include <optional>

#include "ernie_image/image.h"

namespace ernie_image {

/// Mean SSIM over the three channels: uniform 7x7 window, sample covariance, data range 255, only
/// windows that lie wholly inside. Equal to scikit-image's structural_similarity(a, b,
/// channel_axis=-1, data_range=255). Nothing for pictures with a side below 7 pixels. The sizes
/// must be equal.
std::optional<double> structural_similarity(const Image& a, const Image& b);

struct MultiScaleSimilarity {
  double value = 0;
  int scales = 0;  ///< five as published, fewer for small pictures
};

/// Mean MS-SSIM over the three channels (Wang, Simoncelli and Bovik, 2003): Gaussian window of 11
/// with sigma 1.5, each scale the 2x2 means of the one before. A picture too small for five scales
/// uses as many as leave 11 pixels a side, their weights divided by their sum. Nothing for a side
/// below 11 pixels. The sizes must be equal.
std::optional<MultiScaleSimilarity> multi_scale_similarity(const Image& a, const Image& b);

}  // namespace ernie_image
