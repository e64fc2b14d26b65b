// One decoder a format, for `read_picture`.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ernie_image/image.h"

namespace ernie_image {

/// As the file has it, before the orientation is applied.
struct DecodedPicture {
  Image image;
  int orientation = 1;              ///< EXIF's, 1 to 8
  std::vector<std::uint8_t> alpha;  ///< a byte a pixel; empty where all of it is opaque
};

/// Throws Error(unsupported) above `max_pixels`.
void check_picture_size(std::uint64_t width_px, std::uint64_t height_px, std::size_t max_pixels,
                        const std::string& name);

/// [width * height] RGBA over white.
Image over_white(std::span<const std::uint8_t> rgba, int width_px, int height_px);

/// Of RGBA pixels; empty if all are opaque.
std::vector<std::uint8_t> alpha_of(std::span<const std::uint8_t> rgba);

DecodedPicture decode_png(std::span<const std::byte> bytes, const std::string& name,
                          std::size_t max_pixels);
DecodedPicture decode_jpeg(std::span<const std::byte> bytes, const std::string& name,
                           std::size_t max_pixels);
DecodedPicture decode_webp(std::span<const std::byte> bytes, const std::string& name,
                           std::size_t max_pixels);

}  // namespace ernie_image
