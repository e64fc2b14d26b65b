#include "io/resize_image.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>
#include <vector>

namespace ernie_image {
namespace {

constexpr double kLobes = 3.0;

double lanczos(double x) {
  if (x == 0) return 1;
  if (std::abs(x) >= kLobes) return 0;
  const double angle = std::numbers::pi * x;
  return kLobes * std::sin(angle) * std::sin(angle / kLobes) / (angle * angle);
}

double weight_at(Filter filter, double x) {
  return filter == Filter::lanczos ? lanczos(x) : std::max(0.0, 1.0 - std::abs(x));
}

/// The source pixels that make one target pixel: weights of [first, first + weights.size()).
struct Window {
  int first;
  std::vector<float> weights;
};

/// Target pixel i covers [begin + i * scale, begin + (i + 1) * scale) of `length` source pixels.
Window window_at(Filter filter, int i, double begin, double scale, int length) {
  const double widening = std::max(scale, 1.0);
  const double centre = begin + (i + 0.5) * scale;
  const double reach = (filter == Filter::lanczos ? kLobes : 1.0) * widening;
  const int first = std::clamp(static_cast<int>(std::lround(centre - reach)), 0, length - 1);
  const int end = std::clamp(static_cast<int>(std::lround(centre + reach)), first + 1, length);
  Window window{first, {}};
  double sum = 0;
  std::vector<double> weights;
  for (int source = first; source < end; ++source) {
    weights.push_back(weight_at(filter, (source + 0.5 - centre) / widening));
    sum += weights.back();
  }
  for (const double weight : weights) window.weights.push_back(static_cast<float>(weight / sum));
  return window;
}

/// One axis: `count` target pixels from the source range [begin, begin + span).
std::vector<Window> windows(Filter filter, int count, double begin, double span, int length) {
  std::vector<Window> all;
  for (int i = 0; i < count; ++i) all.push_back(window_at(filter, i, begin, span / count, length));
  return all;
}

std::uint8_t rounded(float value) {
  return static_cast<std::uint8_t>(std::clamp(std::nearbyint(value), 0.0f, 255.0f));
}

/// Source rectangle to a picture of the windows' size. In between there are 8 bits too, as in PIL:
/// what overshoots at an edge is cut off before it can spread.
Image scaled(const Image& image, const std::vector<Window>& columns,
             const std::vector<Window>& rows) {
  const std::size_t width = columns.size();
  Image result{static_cast<int>(width), static_cast<int>(rows.size()), {}};
  result.rgb.resize(3 * width * rows.size());
  const auto stride = std::size_t{3} * static_cast<std::size_t>(image.width_px);
  std::vector<std::uint8_t> across(static_cast<std::size_t>(image.height_px) * 3 * width);
  std::uint8_t* target = across.data();
  for (std::size_t y = 0; y < static_cast<std::size_t>(image.height_px); ++y) {
    for (const Window& window : columns) {
      const std::uint8_t* source = image.rgb.data() + y * stride + 3 * window.first;
      float sum[3] = {};
      for (const float weight : window.weights) {
        for (float& channel : sum) channel += weight * static_cast<float>(*source++);
      }
      for (const float channel : sum) *target++ = rounded(channel);
    }
  }
  target = result.rgb.data();
  for (const Window& window : rows) {
    for (std::size_t i = 0; i < 3 * width; ++i) {
      const std::uint8_t* source =
          across.data() + static_cast<std::size_t>(window.first) * 3 * width + i;
      float sum = 0;
      for (const float weight : window.weights) {
        sum += weight * static_cast<float>(*source);
        source += 3 * width;
      }
      *target++ = rounded(sum);
    }
  }
  return result;
}

Image padded(const Image& image, int width_px, int height_px) {
  Image result{width_px, height_px, {}};
  result.rgb.reserve(std::size_t{3} * static_cast<std::size_t>(width_px) *
                     static_cast<std::size_t>(height_px));
  const int left = (width_px - image.width_px) / 2, top = (height_px - image.height_px) / 2;
  for (int y = 0; y < height_px; ++y) {
    const int row = std::clamp(y - top, 0, image.height_px - 1);
    for (int x = 0; x < width_px; ++x) {
      const int column = std::clamp(x - left, 0, image.width_px - 1);
      const auto pixel = 3 * (static_cast<std::ptrdiff_t>(row) * image.width_px + column);
      result.rgb.insert(result.rgb.end(), image.rgb.begin() + pixel, image.rgb.begin() + pixel + 3);
    }
  }
  return result;
}

}  // namespace

Image resized(const Image& image, int width_px, int height_px, Fit fit, Filter filter) {
  if (image.width_px == width_px && image.height_px == height_px) return image;
  const double across = static_cast<double>(image.width_px) / width_px;
  const double down = static_cast<double>(image.height_px) / height_px;
  if (fit == Fit::pad) {
    const double scale = std::max(across, down);
    const int inner_width =
        std::clamp(static_cast<int>(std::lround(image.width_px / scale)), 1, width_px);
    const int inner_height =
        std::clamp(static_cast<int>(std::lround(image.height_px / scale)), 1, height_px);
    return padded(resized(image, inner_width, inner_height, Fit::stretch, filter), width_px,
                  height_px);
  }
  double span_x = image.width_px, span_y = image.height_px;
  if (fit == Fit::crop) {
    const double scale = std::min(across, down);
    span_x = scale * width_px;
    span_y = scale * height_px;
  }
  return scaled(
      image, windows(filter, width_px, (image.width_px - span_x) / 2, span_x, image.width_px),
      windows(filter, height_px, (image.height_px - span_y) / 2, span_y, image.height_px));
}

}  // namespace ernie_image
