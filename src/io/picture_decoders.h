// One decoder a format, for `read_picture` and `read_image`.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/image_file.h"

namespace ernie_image {

/// As the file has it, before the orientation is applied.
struct DecodedPicture {
  Image image;
  int orientation = 1;              ///< EXIF's, 1 to 8
  std::vector<std::uint8_t> alpha;  ///< a byte a pixel; empty where all of it is opaque
  ImageMetadata metadata = {};      ///< if asked for
  int quality = 0;                  ///< that this program wrote it with; 0: not known
};

struct DecodingLimits {
  std::size_t max_pixels;
  std::size_t max_text_bytes = 0;  ///< of all entries together; 0: none are read
};

/// Throws Error(unsupported) above `max_pixels`.
void check_picture_size(std::uint64_t width_px, std::uint64_t height_px, std::size_t max_pixels,
                        const std::string& name);

/// [width * height] RGBA over white.
Image over_white(std::span<const std::uint8_t> rgba, int width_px, int height_px);

/// Of RGBA pixels; empty if all are opaque.
std::vector<std::uint8_t> alpha_of(std::span<const std::uint8_t> rgba);

DecodedPicture decode_png(std::span<const std::byte> bytes, const std::string& name,
                          const DecodingLimits& limits);
DecodedPicture decode_jpeg(std::span<const std::byte> bytes, const std::string& name,
                           const DecodingLimits& limits);
DecodedPicture decode_webp(std::span<const std::byte> bytes, const std::string& name,
                           const DecodingLimits& limits);

/// The texts alone; of a PNG its pixels are passed by, since texts may follow them.
ImageMetadata read_png_texts(std::span<const std::byte> bytes, const std::string& name,
                             const DecodingLimits& limits);
ImageMetadata read_jpeg_texts(std::span<const std::byte> bytes, const std::string& name);
ImageMetadata read_webp_texts(std::span<const std::byte> bytes, const std::string& name);

}  // namespace ernie_image
