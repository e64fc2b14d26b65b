// Pictures on disk: PNG, JPEG, WebP with metadata, written whole or not at all.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "ernie_image/image.h"
#include "io/file_view.h"

namespace ernie_image {

enum class ImageFormat { png, jpeg, webp };

/// By extension, case-insensitively (.png .jpg .jpeg .webp). Throws Error(invalid_argument) naming
/// the three.
ImageFormat image_format_of(const std::string& path);

/// Text entries by keyword, UTF-8. In PNG: tEXt, or iTXt where the text is not Latin-1. In JPEG and
/// WebP: "parameters" as EXIF UserComment and "ernie_image" as a MakerNote, which a JPEG that has
/// no room for it goes without.
using ImageMetadata = std::map<std::string, std::string>;

inline constexpr const char* kParametersChunk = "parameters";  // for A1111-compatible programs
inline constexpr const char* kRecordChunk = "ernie_image";     // JSON, complete

struct ImageEncoding {
  ImageFormat format = ImageFormat::png;
  int quality = 95;  ///< JPEG and WebP; 100 makes WebP lossless
};

/// The encoded file in memory (a server wants that too). Throws Error(invalid_argument | io).
std::vector<std::uint8_t> encode_image(const Image& image, const ImageEncoding& encoding,
                                       const ImageMetadata& metadata);

/// What encode_image would refuse of such an image, whatever its pixels are: sides and texts that
/// the format has no room for. Throws Error(invalid_argument).
void check_encodable(int width_px, int height_px, const ImageEncoding& encoding,
                     const ImageMetadata& metadata);

struct ImageFile {
  Image image;
  std::vector<std::uint8_t> alpha;  ///< a byte a pixel; empty where all of it is opaque
  ImageMetadata metadata;
  /// How it was encoded; of JPEG and WebP the quality is 0 where the file does not say.
  ImageEncoding encoding;
};

/// Decodes a PNG, JPEG or WebP, recognised by its content, to 8-bit RGB: 16 bits become 8, palettes
/// and greys RGB, what is transparent shows white. Hostile input: Error(corrupt_file |
/// unsupported), and nothing beyond 16384 x 16384 pixels or 64 MiB of text is accepted.
ImageFile read_image(const std::string& path);

/// The texts of such a file, wherever they stand in it. Hostile input, as above.
ImageMetadata read_image_metadata(const FileView& file, std::size_t max_text_bytes);

}  // namespace ernie_image
