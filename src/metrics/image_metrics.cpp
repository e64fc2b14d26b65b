#include "metrics/image_metrics.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "ernie_image/error.h"
#include "metrics/structural_similarity.h"

namespace ernie_image {
namespace {

std::string size_text(const Image& image) {
  return std::to_string(image.width_px) + "x" + std::to_string(image.height_px);
}

void require_comparable(const Image& a, const Image& b) {
  if (a.width_px != b.width_px || a.height_px != b.height_px) {
    throw Error(ErrorKind::invalid_argument, "the pictures differ in size: " + size_text(a) +
                                                 " and " + size_text(b) +
                                                 " pixels; only pictures of one size compare");
  }
  if (a.rgb.empty()) throw Error(ErrorKind::invalid_argument, "the pictures have no pixels");
}

}  // namespace

ImageMetrics compare_images(const Image& a, const Image& b) {
  require_comparable(a, b);
  std::uint64_t squares = 0, absolute = 0;  // 16384^2 pixels x 3 x 255^2 fits
  ImageMetrics metrics;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) {
    const int difference = std::abs(int{a.rgb[i]} - int{b.rgb[i]});
    squares += static_cast<std::uint64_t>(difference * difference);
    absolute += static_cast<std::uint64_t>(difference);
    metrics.max_absolute_difference = std::max(metrics.max_absolute_difference, difference);
  }
  const auto values = static_cast<double>(a.rgb.size());
  const double mean_square = static_cast<double>(squares) / values / (255.0 * 255.0);
  metrics.nmse_percent = 100 * mean_square;
  if (squares != 0) metrics.psnr_db = -10 * std::log10(mean_square);
  metrics.mean_absolute_difference = static_cast<double>(absolute) / values;
  metrics.ssim = structural_similarity(a, b);
  if (const auto similarity = multi_scale_similarity(a, b)) {
    metrics.ms_ssim = similarity->value;
    metrics.ms_ssim_scales = similarity->scales;
  }
  return metrics;
}

}  // namespace ernie_image
