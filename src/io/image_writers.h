// One encoder a format, each given an image that `encode_image` has checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/image_file.h"

namespace ernie_image {

std::vector<std::uint8_t> encode_png(const Image& image, const ImageMetadata& metadata);

/// `exif` without the "Exif\0\0" before it; "" for none.
std::vector<std::uint8_t> encode_jpeg(const Image& image, int quality, const std::string& exif);
std::vector<std::uint8_t> encode_webp(const Image& image, int quality, const std::string& exif);

}  // namespace ernie_image
