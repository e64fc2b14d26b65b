#include "io/fill_image.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace ernie_image {
namespace {

bool is_drawn(const Mask& mask, std::size_t pixel) { return mask.values[pixel] >= 128; }

/// For each pixel the nearest one that is kept, as far as two passes over their neighbours find it
/// (Danielsson's distance map): at most a fraction of a pixel farther than the nearest.
class NearestKept {
 public:
  explicit NearestKept(const Mask& mask)
      : width_(mask.width_px), height_(mask.height_px), nearest_(mask.values.size()) {
    for (int y = 0; y < height_; ++y) {
      for (int x = 0; x < width_; ++x) {
        if (!is_drawn(mask, at(x, y))) nearest_[at(x, y)] = {x, y};
      }
    }
    for (int y = 0; y < height_; ++y) sweep(y, y - 1);
    for (int y = height_ - 1; y >= 0; --y) sweep(y, y + 1);
  }

  struct Place {
    int x = -1, y = -1;  ///< -1: none is kept
  };
  Place of(int x, int y) const { return nearest_[at(x, y)]; }

 private:
  std::size_t at(int x, int y) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) +
           static_cast<std::size_t>(x);
  }

  /// A row from its neighbour `from`, then along itself both ways.
  void sweep(int y, int from) {
    for (int x = 0; x < width_; ++x) {
      for (int side = -1; side <= 1; ++side) look(x, y, x + side, from);
    }
    for (int x = 1; x < width_; ++x) look(x, y, x - 1, y);
    for (int x = width_ - 2; x >= 0; --x) look(x, y, x + 1, y);
  }

  void look(int x, int y, int other_x, int other_y) {
    if (other_x < 0 || other_x >= width_ || other_y < 0 || other_y >= height_) return;
    const Place place = nearest_[at(other_x, other_y)];
    if (place.x >= 0 && distance(x, y, place) < distance(x, y, nearest_[at(x, y)]))
      nearest_[at(x, y)] = place;
  }

  static std::int64_t distance(int x, int y, Place place) {
    if (place.x < 0) return std::numeric_limits<std::int64_t>::max();
    const std::int64_t dx = x - place.x, dy = y - place.y;
    return dx * dx + dy * dy;
  }

  int width_, height_;
  std::vector<Place> nearest_;
};

std::uint8_t* pixel_of(Image& image, int x, int y) {
  return image.rgb.data() + 3 * (static_cast<std::ptrdiff_t>(y) * image.width_px + x);
}

void fill_with_noise(Image& image, const Mask& mask) {
  std::uint32_t state = 0x9e3779b9;  // xorshift32: the same picture each time
  for (std::size_t i = 0; i < mask.values.size(); ++i) {
    for (std::size_t c = 0; c < 3; ++c) {
      state ^= state << 13;
      state ^= state >> 17;
      state ^= state << 5;
      if (is_drawn(mask, i)) image.rgb[3 * i + c] = static_cast<std::uint8_t>(state >> 24);
    }
  }
}

void fill_from_kept(Image& image, const Mask& mask, bool mirrored) {
  const NearestKept kept(mask);
  Image source = image;
  for (int y = 0; y < image.height_px; ++y) {
    for (int x = 0; x < image.width_px; ++x) {
      const NearestKept::Place edge = kept.of(x, y);
      if (edge.x < 0 || (edge.x == x && edge.y == y)) continue;
      const int far_x = std::clamp(2 * edge.x - x, 0, image.width_px - 1);
      const int far_y = std::clamp(2 * edge.y - y, 0, image.height_px - 1);
      const NearestKept::Place far = mirrored ? kept.of(far_x, far_y) : edge;
      std::copy_n(pixel_of(source, far.x, far.y), 3, pixel_of(image, x, y));
    }
  }
}

}  // namespace

Image extended(const Image& image, const Margins& margins) {
  Image result{image.width_px + margins.left + margins.right,
               image.height_px + margins.top + margins.bottom,
               {}};
  result.rgb.reserve(std::size_t{3} * static_cast<std::size_t>(result.width_px) *
                     static_cast<std::size_t>(result.height_px));
  for (int y = 0; y < result.height_px; ++y) {
    const int row = std::clamp(y - margins.top, 0, image.height_px - 1);
    for (int x = 0; x < result.width_px; ++x) {
      const int column = std::clamp(x - margins.left, 0, image.width_px - 1);
      const auto pixel =
          image.rgb.begin() + 3 * (static_cast<std::ptrdiff_t>(row) * image.width_px + column);
      result.rgb.insert(result.rgb.end(), pixel, pixel + 3);
    }
  }
  return result;
}

Mask extended(const Mask& mask, int width_px, int height_px, const Margins& margins, int overlap) {
  Mask result{
      width_px + margins.left + margins.right, height_px + margins.top + margins.bottom, {}};
  const auto edge = [&](int margin) { return margin > 0 ? overlap : 0; };
  for (int y = -margins.top; y < height_px + margins.bottom; ++y) {
    for (int x = -margins.left; x < width_px + margins.right; ++x) {
      const bool is_new = x < edge(margins.left) || y < edge(margins.top) ||
                          x >= width_px - edge(margins.right) ||
                          y >= height_px - edge(margins.bottom);
      const auto pixel = static_cast<std::size_t>(y) * static_cast<std::size_t>(width_px) +
                         static_cast<std::size_t>(x);
      result.values.push_back(is_new ? 255 : mask.values.empty() ? 0 : mask.values[pixel]);
    }
  }
  return result;
}

void fill(Image& image, const Mask& mask, Fill how) {
  if (how == Fill::original) return;
  if (how == Fill::noise) return fill_with_noise(image, mask);
  fill_from_kept(image, mask, how == Fill::mirror);
}

}  // namespace ernie_image
