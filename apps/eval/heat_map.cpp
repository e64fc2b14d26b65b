#include "eval/heat_map.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>

namespace ernie_image {
namespace {

using Pixel = std::array<std::uint8_t, 3>;

/// The colours of kHeatGradient.
constexpr std::array<Pixel, 6> kStops = {{{0x00, 0x00, 0x04},
                                          {0x42, 0x0a, 0x68},
                                          {0x93, 0x26, 0x67},
                                          {0xdd, 0x51, 0x3a},
                                          {0xfc, 0xa5, 0x0a},
                                          {0xfc, 0xff, 0xa4}}};

/// share: 0..1
Pixel colour_of(float share) {
  const float position = share * static_cast<float>(kStops.size() - 1);
  const auto below = std::min(static_cast<std::size_t>(position), kStops.size() - 2);
  Pixel pixel;
  for (std::size_t c = 0; c < pixel.size(); ++c) {
    pixel[c] = static_cast<std::uint8_t>(std::lround(
        std::lerp(static_cast<float>(kStops[below][c]), static_cast<float>(kStops[below + 1][c]),
                  position - static_cast<float>(below))));
  }
  return pixel;
}

int pixel_difference(const Image& a, const Image& b, std::size_t first) {
  int largest = 0;
  for (std::size_t i = first; i < first + 3; ++i) {
    largest = std::max(largest, std::abs(int{a.rgb[i]} - int{b.rgb[i]}));
  }
  return largest;
}

}  // namespace

Image heat_map(const Image& a, const Image& b) {
  int largest = 1;
  for (std::size_t i = 0; i < a.rgb.size(); i += 3) {
    largest = std::max(largest, pixel_difference(a, b, i));
  }
  Image map{a.width_px, a.height_px, {}};
  map.rgb.resize(a.rgb.size());
  for (std::size_t i = 0; i < a.rgb.size(); i += 3) {
    const float share = static_cast<float>(pixel_difference(a, b, i)) / static_cast<float>(largest);
    const Pixel pixel = colour_of(share);
    std::ranges::copy(pixel, map.rgb.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return map;
}

}  // namespace ernie_image
