#include "io/picture_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "ernie_image/error.h"
#include "io/picture_decoders.h"

namespace ernie_image {
namespace {

bool has_at(std::span<const std::byte> bytes, std::size_t offset, std::string_view text) {
  return bytes.size() >= offset + text.size() &&
         std::memcmp(bytes.data() + offset, text.data(), text.size()) == 0;
}

DecodedPicture decode(std::span<const std::byte> bytes, const std::string& name) {
  if (has_at(bytes, 0, "\x89PNG\r\n\x1a\n")) return decode_png(bytes, name);
  if (has_at(bytes, 0, "\xff\xd8\xff")) return decode_jpeg(bytes, name);
  if (has_at(bytes, 0, "RIFF") && has_at(bytes, 8, "WEBP")) return decode_webp(bytes, name);
  throw Error(ErrorKind::corrupt_file, name + ": not a PNG, JPEG or WebP picture");
}

/// Where the upright picture's pixel (x, y) is in the stored one, whose sides are `width` and
/// `height`. EXIF 2.32, tag Orientation.
std::pair<int, int> stored_pixel(int orientation, int x, int y, int width, int height) {
  switch (orientation) {
    case 2:
      return {width - 1 - x, y};
    case 3:
      return {width - 1 - x, height - 1 - y};
    case 4:
      return {x, height - 1 - y};
    case 5:
      return {y, x};
    case 6:
      return {y, height - 1 - x};
    case 7:
      return {width - 1 - y, height - 1 - x};
    case 8:
      return {width - 1 - y, x};
    default:
      return {x, y};
  }
}

Image upright(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const bool turned = orientation >= 5;
  Image result;
  result.width_px = turned ? image.height_px : image.width_px;
  result.height_px = turned ? image.width_px : image.height_px;
  result.rgb.resize(image.rgb.size());
  std::uint8_t* target = result.rgb.data();
  for (int y = 0; y < result.height_px; ++y) {
    for (int x = 0; x < result.width_px; ++x, target += 3) {
      const auto [from_x, from_y] =
          stored_pixel(orientation, x, y, image.width_px, image.height_px);
      const std::size_t pixel =
          static_cast<std::size_t>(from_y) * static_cast<std::size_t>(image.width_px) +
          static_cast<std::size_t>(from_x);
      std::copy_n(image.rgb.data() + 3 * pixel, 3, target);
    }
  }
  return result;
}

}  // namespace

void check_picture_size(std::uint64_t width_px, std::uint64_t height_px, const std::string& name) {
  // Each side by itself first: the product of two 32-bit numbers fits 64 bits.
  if (width_px != 0 && height_px != 0 && width_px * height_px <= kMaxPicturePixels) return;
  throw Error(ErrorKind::unsupported, name + ": " + std::to_string(width_px) + "x" +
                                          std::to_string(height_px) + " pixels; 1 to " +
                                          std::to_string(kMaxPicturePixels >> 20) +
                                          " million (x 1048576) are read");
}

Image over_white(std::span<const std::uint8_t> rgba, int width_px, int height_px) {
  Image image{width_px, height_px, {}};
  image.rgb.resize(rgba.size() / 4 * 3);
  for (std::size_t i = 0; i < rgba.size() / 4; ++i) {
    const int alpha = rgba[4 * i + 3];
    for (std::size_t c = 0; c < 3; ++c) {
      const int sum = rgba[4 * i + c] * alpha + 255 * (255 - alpha);
      image.rgb[3 * i + c] = static_cast<std::uint8_t>((sum + 127) / 255);
    }
  }
  return image;
}

Image read_picture(std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.size() > kMaxPictureBytes) {
    throw Error(ErrorKind::unsupported,
                name + ": " + std::to_string(bytes.size()) + " bytes; pictures of up to " +
                    std::to_string(kMaxPictureBytes >> 20) + " MiB are read");
  }
  DecodedPicture decoded = decode(bytes, name);
  return upright(std::move(decoded.image), decoded.orientation);
}

}  // namespace ernie_image
