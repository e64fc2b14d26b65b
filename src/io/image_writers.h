// One encoder a format, each given an image that `encode_image` has checked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/image_file.h"

namespace ernie_image {

inline constexpr int kMaxWebpSidePx = 16383;
inline constexpr int kMaxJpegSidePx = 65500;                   // libjpeg's JPEG_MAX_DIMENSION
inline constexpr std::size_t kMaxJpegMarkerBytes = 65533;      // a 16-bit length that counts itself
inline constexpr std::string_view kExifPrefix{"Exif\0\0", 6};  // in JPEG

std::vector<std::uint8_t> encode_png(const Image& image, const ImageMetadata& metadata);

/// `exif` without the "Exif\0\0" before it; "" for none.
std::vector<std::uint8_t> encode_jpeg(const Image& image, int quality, const std::string& exif);
std::vector<std::uint8_t> encode_webp(const Image& image, int quality, const std::string& exif);

}  // namespace ernie_image
