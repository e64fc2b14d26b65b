#include "io/mask.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <tuple>
#include <utility>

namespace ernie_image {
namespace {

constexpr double kBlurReach = 2.5;  // standard deviations

/// Weights of [-reach, reach]; their sum is 1.
std::vector<float> gaussian(double sigma) {
  const int reach = static_cast<int>(std::lround(kBlurReach * sigma));
  std::vector<double> weights;
  double sum = 0;
  for (int i = -reach; i <= reach; ++i) {
    weights.push_back(std::exp(-0.5 * i * i / (sigma * sigma)));
    sum += weights.back();
  }
  std::vector<float> result;
  for (const double weight : weights) result.push_back(static_cast<float>(weight / sum));
  return result;
}

/// `lines` lines of `length` values, which are `step` apart; the lines are `line_step` apart.
struct Lines {
  int length, lines;
  std::ptrdiff_t step, line_step;
};

void blur_lines(const std::vector<float>& weights, const Lines& lines, const float* source,
                float* target) {
  const int reach = static_cast<int>(weights.size() / 2);
  for (int line = 0; line < lines.lines; ++line) {
    const float* const from = source + line * lines.line_step;
    float* const to = target + line * lines.line_step;
    for (int i = 0; i < lines.length; ++i) {
      float sum = 0;
      for (int k = -reach; k <= reach; ++k) {
        sum += weights[k + reach] * from[std::clamp(i + k, 0, lines.length - 1) * lines.step];
      }
      to[i * lines.step] = sum;
    }
  }
}

Image as_image(const Mask& mask) {
  Image image{mask.width_px, mask.height_px, {}};
  image.rgb.reserve(3 * mask.values.size());
  for (const std::uint8_t value : mask.values) image.rgb.insert(image.rgb.end(), 3, value);
  return image;
}

}  // namespace

PixelBox masked_box(std::span<const std::uint8_t> mask, int width_px, int height_px, int padding) {
  int left = width_px, top = height_px, right = 0, bottom = 0;
  for (std::size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] == 0) continue;
    const int x = static_cast<int>(i % static_cast<std::size_t>(width_px));
    const int y = static_cast<int>(i / static_cast<std::size_t>(width_px));
    left = std::min(left, x);
    right = std::max(right, x + 1);
    top = std::min(top, y);
    bottom = std::max(bottom, y + 1);
  }
  if (right <= left) return {};
  left = std::max(0, left - padding);
  top = std::max(0, top - padding);
  return {left, top, std::min(width_px, right + padding) - left,
          std::min(height_px, bottom + padding) - top};
}

namespace {

/// A range made `wanted` long around its middle, as far as there is room in `length`.
std::pair<int, int> grown(int begin, int size, double wanted, int length) {
  const int result = std::clamp(static_cast<int>(std::lround(wanted)), size, length);
  return {std::clamp(begin - (result - size) / 2, 0, length - result), result};
}

}  // namespace

PixelBox with_proportions(const PixelBox& box, int width_px, int height_px, int width, int height) {
  PixelBox result = box;
  const double aspect = static_cast<double>(width) / height;
  if (box.width < aspect * box.height) {
    std::tie(result.left, result.width) = grown(box.left, box.width, aspect * box.height, width_px);
  } else {
    std::tie(result.top, result.height) = grown(box.top, box.height, box.width / aspect, height_px);
  }
  return result;
}

void invert(Mask& mask) {
  for (std::uint8_t& value : mask.values) value = static_cast<std::uint8_t>(255 - value);
}

Mask resized(const Mask& mask, int width_px, int height_px, Fit fit) {
  if (mask.width_px == width_px && mask.height_px == height_px) return mask;
  const Image image = resized(as_image(mask), width_px, height_px, fit, Filter::triangle);
  Mask result{width_px, height_px, {}};
  result.values.reserve(image.rgb.size() / 3);
  for (std::size_t i = 0; i < image.rgb.size(); i += 3) result.values.push_back(image.rgb[i]);
  return result;
}

Mask blurred(const Mask& mask, double sigma_px) {
  if (!(sigma_px > 0)) return mask;
  const std::vector<float> weights = gaussian(std::min(sigma_px, kMaxBlurPx));
  std::vector<float> values(mask.values.begin(), mask.values.end()), across(values.size());
  const int width = mask.width_px, height = mask.height_px;
  blur_lines(weights, {width, height, 1, width}, values.data(), across.data());
  blur_lines(weights, {height, width, width, 1}, across.data(), values.data());
  Mask result{width, height, {}};
  for (const float value : values)
    result.values.push_back(static_cast<std::uint8_t>(std::lround(std::clamp(value, 0.f, 255.f))));
  return result;
}

}  // namespace ernie_image
