// A picture.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ernie_image/export.h"

namespace ernie_image {

/// 8-bit RGB, row-major, 3 bytes a pixel.
struct Image {
  int width_px = 0;
  int height_px = 0;
  std::vector<std::uint8_t> rgb;
};

/// Writes PNG, JPEG or WebP by the extension of `path`; the file appears whole or not at all.
ERNIE_IMAGE_API void save_image(const std::string& path, const Image& image);

}  // namespace ernie_image
