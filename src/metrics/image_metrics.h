// How far two pictures are apart.
#pragma once

#include <optional>

#include "ernie_image/image.h"

namespace ernie_image {

struct ImageMetrics {
  double nmse_percent = 0;              ///< mean squared error of pixels in 0..1, times 100
  std::optional<double> psnr_db;        ///< -10 log10(nmse); nothing for equal pictures (infinite)
  std::optional<double> ssim;           ///< nothing below 7 pixels a side
  std::optional<double> ms_ssim;        ///< nothing below 11 pixels a side
  int ms_ssim_scales = 0;               ///< 5, or fewer for small pictures
  double mean_absolute_difference = 0;  ///< of 8-bit values, 0..255
  int max_absolute_difference = 0;
};

/// Throws Error(invalid_argument) for pictures of different sizes, or without pixels.
ImageMetrics compare_images(const Image& a, const Image& b);

}  // namespace ernie_image
