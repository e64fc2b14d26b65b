#include "io/picture_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "ernie_image/error.h"
#include "io/image_file.h"
#include "io/picture_decoders.h"
#include "io/placeholder.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxFilePixels = std::size_t{16384} * 16384;
constexpr std::size_t kMaxTextBytes = std::size_t{64} << 20;  // of all entries together

bool has_at(std::span<const std::byte> bytes, std::size_t offset, std::string_view text) {
  return bytes.size() >= offset + text.size() &&
         std::memcmp(bytes.data() + offset, text.data(), text.size()) == 0;
}

/// Throws Error(corrupt_file) for what is none of them.
ImageFormat format_of(std::span<const std::byte> bytes, const std::string& name) {
  if (has_at(bytes, 0, "\x89PNG\r\n\x1a\n")) return ImageFormat::png;
  if (has_at(bytes, 0, "\xff\xd8\xff")) return ImageFormat::jpeg;
  if (has_at(bytes, 0, "RIFF") && has_at(bytes, 8, "WEBP")) return ImageFormat::webp;
  throw Error(ErrorKind::corrupt_file, name + ": not a PNG, JPEG or WebP picture");
}

DecodedPicture decode(ImageFormat format, std::span<const std::byte> bytes, const std::string& name,
                      const DecodingLimits& limits) {
  if (format == ImageFormat::png) return decode_png(bytes, name, limits);
  if (format == ImageFormat::jpeg) return decode_jpeg(bytes, name, limits);
  return decode_webp(bytes, name, limits);
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

/// Turns the stored picture of those sides, `channels` bytes a pixel, and the sides.
std::vector<std::uint8_t> upright(std::vector<std::uint8_t> stored, std::size_t channels,
                                  int orientation, int& width_px, int& height_px) {
  if (orientation <= 1 || orientation > 8) return stored;
  const int width = width_px, height = height_px;
  if (orientation >= 5) std::swap(width_px, height_px);
  std::vector<std::uint8_t> result(stored.size());
  std::uint8_t* target = result.data();
  for (int y = 0; y < height_px; ++y) {
    for (int x = 0; x < width_px; ++x, target += channels) {
      const auto [from_x, from_y] = stored_pixel(orientation, x, y, width, height);
      const std::size_t pixel = static_cast<std::size_t>(from_y) * static_cast<std::size_t>(width) +
                                static_cast<std::size_t>(from_x);
      std::copy_n(stored.data() + channels * pixel, channels, target);
    }
  }
  return result;
}

DecodedPicture decode_checked(std::span<const std::byte> bytes, const std::string& name,
                              std::size_t max_pixels) {
  if (bytes.size() > kMaxPictureBytes) {
    throw Error(ErrorKind::unsupported,
                name + ": " + std::to_string(bytes.size()) + " bytes; pictures of up to " +
                    std::to_string(kMaxPictureBytes >> 20) + " MiB are read");
  }
  return decode(format_of(bytes, name), bytes, name, {std::min(max_pixels, kMaxPicturePixels)});
}

/// ITU-R BT.601, in 1/65536, as PIL has it.
std::vector<std::uint8_t> grey_of(const Image& image) {
  std::vector<std::uint8_t> grey(image.rgb.size() / 3);
  for (std::size_t i = 0; i < grey.size(); ++i) {
    const std::uint8_t* rgb = image.rgb.data() + 3 * i;
    grey[i] = static_cast<std::uint8_t>(
        (19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 0x8000u) >> 16);
  }
  return grey;
}

}  // namespace

void check_picture_size(std::uint64_t width_px, std::uint64_t height_px, std::size_t max_pixels,
                        const std::string& name) {
  // Each side by itself first: the product of two 32-bit numbers fits 64 bits.
  if (width_px != 0 && height_px != 0 && width_px * height_px <= max_pixels) return;
  throw Error(ErrorKind::unsupported, name + ": " + std::to_string(width_px) + "x" +
                                          std::to_string(height_px) + " pixels; 1 to " +
                                          std::to_string(max_pixels >> 20) +
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

std::vector<std::uint8_t> alpha_of(std::span<const std::uint8_t> rgba) {
  std::vector<std::uint8_t> alpha(rgba.size() / 4);
  bool is_opaque = true;
  for (std::size_t i = 0; i < alpha.size(); ++i) {
    alpha[i] = rgba[4 * i + 3];
    is_opaque = is_opaque && alpha[i] == 255;
  }
  if (is_opaque) alpha.clear();
  return alpha;
}

Image read_picture(std::span<const std::byte> bytes, const std::string& name,
                   std::size_t max_pixels) {
  DecodedPicture decoded = decode_checked(bytes, name, max_pixels);
  Image image = std::move(decoded.image);
  image.rgb =
      upright(std::move(image.rgb), 3, decoded.orientation, image.width_px, image.height_px);
  return image;
}

Mask read_mask(std::span<const std::byte> bytes, const std::string& name, std::size_t max_pixels) {
  DecodedPicture decoded = decode_checked(bytes, name, max_pixels);
  Mask mask{decoded.image.width_px, decoded.image.height_px, std::move(decoded.alpha)};
  if (mask.values.empty()) {
    mask.values = grey_of(decoded.image);
  } else {
    invert(mask);
  }
  mask.values =
      upright(std::move(mask.values), 1, decoded.orientation, mask.width_px, mask.height_px);
  return mask;
}

ImageFile read_image(const std::string& path) {
  const FileView file = open_file(path);
  reject_placeholder(file);
  const ImageFormat format = format_of(file.bytes, path);
  DecodedPicture decoded = decode(format, file.bytes, path, {kMaxFilePixels, kMaxTextBytes});
  ImageFile result{std::move(decoded.image),
                   std::move(decoded.alpha),
                   std::move(decoded.metadata),
                   {format, decoded.quality}};
  if (!result.alpha.empty()) {
    int width_px = result.image.width_px, height_px = result.image.height_px;
    result.alpha = upright(std::move(result.alpha), 1, decoded.orientation, width_px, height_px);
  }
  result.image.rgb = upright(std::move(result.image.rgb), 3, decoded.orientation,
                             result.image.width_px, result.image.height_px);
  return result;
}

ImageMetadata read_image_metadata(const FileView& file, std::size_t max_text_bytes) {
  const ImageFormat format = format_of(file.bytes, file.path);
  if (format == ImageFormat::png)
    return read_png_texts(file.bytes, file.path, {kMaxPicturePixels, max_text_bytes});
  return format == ImageFormat::jpeg ? read_jpeg_texts(file.bytes, file.path)
                                     : read_webp_texts(file.bytes, file.path);
}

}  // namespace ernie_image
