#include "commands/image_views.h"

#include <algorithm>
#include <array>

namespace ernie_image {
namespace {

using Pixel = std::array<std::uint8_t, 3>;

constexpr Pixel kPaper = {240, 240, 240};

Pixel pixel_at(const Image& image, int x, int y) {
  const std::uint8_t* p = image.rgb.data() + (static_cast<std::size_t>(y) * image.width_px + x) * 3;
  return {p[0], p[1], p[2]};
}

void set_pixel(Image& image, int x, int y, Pixel pixel) {
  std::copy(pixel.begin(), pixel.end(),
            image.rgb.begin() + (static_cast<std::ptrdiff_t>(y) * image.width_px + x) * 3);
}

Image blank(int width_px, int height_px) {
  Image image{width_px, height_px, {}};
  image.rgb.resize(static_cast<std::size_t>(width_px) * height_px * 3);
  return image;
}

/// Draws `image`, each pixel as scale x scale, with its upper left corner at (left, top).
void draw_enlarged(Image& canvas, const Image& image, int left, int top, int scale) {
  for (int y = 0; y < image.height_px * scale; ++y) {
    for (int x = 0; x < image.width_px * scale; ++x) {
      set_pixel(canvas, left + x, top + y, pixel_at(image, x / scale, y / scale));
    }
  }
}

/// Mean colour of the columns [x0, x1) and rows [y0, y1).
Pixel mean_pixel(const Image& image, int x0, int x1, int y0, int y1) {
  std::array<std::int64_t, 3> sum = {};
  for (int y = y0; y < y1; ++y) {
    for (int x = x0; x < x1; ++x) {
      const Pixel pixel = pixel_at(image, x, y);
      for (int c = 0; c < 3; ++c) sum[c] += pixel[c];
    }
  }
  const std::int64_t count = static_cast<std::int64_t>(x1 - x0) * (y1 - y0);
  Pixel mean;
  for (int c = 0; c < 3; ++c) mean[c] = static_cast<std::uint8_t>((sum[c] + count / 2) / count);
  return mean;
}

Image shrunk_to_width(const Image& image, int width_px) {
  if (image.width_px <= width_px) return image;
  const int height_px = std::max(
      1, static_cast<int>(static_cast<std::int64_t>(image.height_px) * width_px / image.width_px));
  const auto edge = [](int i, int from, int to) {
    return static_cast<int>(static_cast<std::int64_t>(i) * from / to);
  };
  Image small = blank(width_px, height_px);
  for (int y = 0; y < height_px; ++y) {
    for (int x = 0; x < width_px; ++x) {
      set_pixel(small, x, y,
                mean_pixel(
                    image, edge(x, image.width_px, width_px), edge(x + 1, image.width_px, width_px),
                    edge(y, image.height_px, height_px), edge(y + 1, image.height_px, height_px)));
    }
  }
  return small;
}

std::string colour_code(const char* layer, Pixel pixel) {
  return std::string("\x1b[") + layer + ";2;" + std::to_string(pixel[0]) + ";" +
         std::to_string(pixel[1]) + ";" + std::to_string(pixel[2]) + "m";
}

}  // namespace

Image beside_enlarged(const Image& image) {
  constexpr int kLongestSide = 8192;
  constexpr int kGap = 16;
  const int scale = std::clamp(kLongestSide / std::max(image.width_px, image.height_px), 1, 6);
  Image canvas = blank(image.width_px * (1 + scale) + 3 * kGap, image.height_px * scale + 2 * kGap);
  for (int y = 0; y < canvas.height_px; ++y) {
    for (int x = 0; x < canvas.width_px; ++x) set_pixel(canvas, x, y, kPaper);
  }
  draw_enlarged(canvas, image, kGap, (canvas.height_px - image.height_px) / 2, 1);
  draw_enlarged(canvas, image, image.width_px + 2 * kGap, kGap, scale);
  return canvas;
}

std::string half_blocks(const Image& image, int columns) {
  const Image small = shrunk_to_width(image, columns);
  std::string text;
  for (int y = 0; y < small.height_px; y += 2) {
    for (int x = 0; x < small.width_px; ++x) {
      text += colour_code("38", pixel_at(small, x, y));
      if (y + 1 < small.height_px) text += colour_code("48", pixel_at(small, x, y + 1));
      text += "\u2580";  // upper half block
    }
    text += "\x1b[0m\n";
  }
  return text;
}

}  // namespace ernie_image
