#include "io/image_file.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <filesystem>

#include "ernie_image/error.h"
#include "io/atomic_file.h"
#include "io/exif.h"
#include "io/image_writers.h"

namespace ernie_image {
namespace {

void check_image(const Image& image) {
  const auto pixels = static_cast<std::size_t>(std::max(image.width_px, 0)) *
                      static_cast<std::size_t>(std::max(image.height_px, 0));
  const std::string size =
      std::to_string(image.width_px) + "x" + std::to_string(image.height_px) + " pixels";
  if (pixels == 0) throw Error(ErrorKind::invalid_argument, "cannot save an image of " + size);
  if (image.rgb.size() != pixels * 3) {
    throw Error(ErrorKind::invalid_argument, "an image of " + size + " has " +
                                                 std::to_string(image.rgb.size()) +
                                                 " bytes, expected " + std::to_string(pixels * 3));
  }
}

/// A JPEG's has a limit, which its note must keep to and its comment is checked for.
std::string exif_for(const ImageMetadata& metadata, const ImageEncoding& encoding) {
  const bool is_jpeg = encoding.format == ImageFormat::jpeg;
  return exif_of(metadata, encoding.quality,
                 is_jpeg ? kMaxJpegMarkerBytes - kExifPrefix.size() : SIZE_MAX);
}

[[noreturn]] void refuse_side(const char* format, int most_px, int width_px, int height_px) {
  throw Error(ErrorKind::invalid_argument, std::string("a ") + format + " has at most " +
                                               std::to_string(most_px) + " pixels a side, not " +
                                               std::to_string(width_px) + "x" +
                                               std::to_string(height_px) + "; save as PNG");
}

}  // namespace

ImageFormat image_format_of(const std::string& path) {
  std::string extension = std::filesystem::path(path).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(c < 128 ? std::tolower(c) : c); });
  if (extension == ".png") return ImageFormat::png;
  if (extension == ".jpg" || extension == ".jpeg") return ImageFormat::jpeg;
  if (extension == ".webp") return ImageFormat::webp;
  throw Error(ErrorKind::invalid_argument, path + ": cannot tell the image format from \"" +
                                               extension +
                                               "\"; end the name in .png, .jpg (.jpeg) or .webp");
}

void check_encodable(int width_px, int height_px, const ImageEncoding& encoding,
                     const ImageMetadata& metadata) {
  if (encoding.quality < 1 || encoding.quality > 100) {
    throw Error(ErrorKind::invalid_argument,
                "image quality " + std::to_string(encoding.quality) + ", expected 1 to 100");
  }
  const int longest = std::max(width_px, height_px);
  if (encoding.format == ImageFormat::webp && longest > kMaxWebpSidePx)
    refuse_side("WebP", kMaxWebpSidePx, width_px, height_px);
  if (encoding.format != ImageFormat::jpeg) return;
  if (longest > kMaxJpegSidePx) refuse_side("JPEG", kMaxJpegSidePx, width_px, height_px);
  const std::size_t bytes = exif_for(metadata, encoding).size() + kExifPrefix.size();
  if (bytes > kMaxJpegMarkerBytes) {
    throw Error(ErrorKind::invalid_argument,
                "metadata of " + std::to_string(bytes) +
                    " bytes (the prompts, above all) does not fit into a JPEG (at most " +
                    std::to_string(kMaxJpegMarkerBytes) + "); save as PNG or WebP");
  }
}

std::vector<std::uint8_t> encode_image(const Image& image, const ImageEncoding& encoding,
                                       const ImageMetadata& metadata) {
  check_image(image);
  check_encodable(image.width_px, image.height_px, encoding, metadata);
  if (encoding.format == ImageFormat::png) return encode_png(image, metadata);
  const std::string exif = exif_for(metadata, encoding);
  if (encoding.format == ImageFormat::jpeg) return encode_jpeg(image, encoding.quality, exif);
  return encode_webp(image, encoding.quality, exif);
}

void save_image(const std::string& path, const Image& image) {
  const auto bytes = encode_image(image, {.format = image_format_of(path)}, {});
  write_file_atomically(path, std::as_bytes(std::span(bytes)));
}

}  // namespace ernie_image
