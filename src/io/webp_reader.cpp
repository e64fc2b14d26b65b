#include <webp/decode.h>
#include <webp/mux.h>

#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "ernie_image/error.h"
#include "io/exif.h"
#include "io/picture_decoders.h"

namespace ernie_image {
namespace {

using Mux = std::unique_ptr<WebPMux, decltype(&WebPMuxDelete)>;

struct Exif {
  int orientation = 1;
  ExifMetadata texts;
};

Exif exif_chunk(const WebPData& file) {
  constexpr int kNoCopy = 0;
  const Mux mux(WebPMuxCreate(&file, kNoCopy), WebPMuxDelete);
  WebPData exif{nullptr, 0};
  if (mux == nullptr || WebPMuxGetChunk(mux.get(), "EXIF", &exif) != WEBP_MUX_OK) return {};
  std::span<const std::byte> tiff = std::as_bytes(std::span(exif.bytes, exif.size));
  constexpr std::string_view kJpegPrefix("Exif\0\0", 6);  // which some programs keep
  if (tiff.size() > kJpegPrefix.size() &&
      std::memcmp(tiff.data(), kJpegPrefix.data(), kJpegPrefix.size()) == 0)
    tiff = tiff.subspan(kJpegPrefix.size());
  return {exif_orientation(tiff), metadata_of_exif(tiff)};
}

}  // namespace

DecodedPicture decode_webp(std::span<const std::byte> bytes, const std::string& name,
                           const DecodingLimits& limits) {
  const WebPData file{reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(file.bytes, file.size, &features) != VP8_STATUS_OK)
    throw Error(ErrorKind::corrupt_file, name + ": not a valid WebP file");
  if (features.has_animation != 0)
    throw Error(ErrorKind::unsupported, name + ": a WebP that moves; take one picture of it");
  check_picture_size(static_cast<std::uint64_t>(features.width),
                     static_cast<std::uint64_t>(features.height), limits.max_pixels, name);
  std::vector<std::uint8_t> rgba(std::size_t{4} * static_cast<std::size_t>(features.width) *
                                 static_cast<std::size_t>(features.height));
  if (WebPDecodeRGBAInto(file.bytes, file.size, rgba.data(), rgba.size(), 4 * features.width) ==
      nullptr)
    throw Error(ErrorKind::corrupt_file, name + ": the WebP file is damaged or cut short");
  Exif exif = exif_chunk(file);
  DecodedPicture picture{over_white(rgba, features.width, features.height), exif.orientation,
                         alpha_of(rgba)};
  if (limits.max_text_bytes > 0) {
    picture.metadata = std::move(exif.texts.metadata);
    picture.quality = exif.texts.quality;
  }
  return picture;
}

ImageMetadata read_webp_texts(std::span<const std::byte> bytes, const std::string&) {
  const WebPData file{reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
  return exif_chunk(file).texts.metadata;
}

}  // namespace ernie_image
