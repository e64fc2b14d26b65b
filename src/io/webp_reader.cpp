#include <webp/decode.h>
#include <webp/mux.h>

#include <memory>
#include <vector>

#include "ernie_image/error.h"
#include "io/exif.h"
#include "io/picture_decoders.h"

namespace ernie_image {
namespace {

using Mux = std::unique_ptr<WebPMux, decltype(&WebPMuxDelete)>;

int orientation_of(const WebPData& file) {
  constexpr int kNoCopy = 0;
  const Mux mux(WebPMuxCreate(&file, kNoCopy), WebPMuxDelete);
  WebPData exif{nullptr, 0};
  if (mux == nullptr || WebPMuxGetChunk(mux.get(), "EXIF", &exif) != WEBP_MUX_OK) return 1;
  return exif_orientation(std::as_bytes(std::span(exif.bytes, exif.size)));
}

}  // namespace

DecodedPicture decode_webp(std::span<const std::byte> bytes, const std::string& name,
                           std::size_t max_pixels) {
  const WebPData file{reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(file.bytes, file.size, &features) != VP8_STATUS_OK)
    throw Error(ErrorKind::corrupt_file, name + ": not a valid WebP file");
  if (features.has_animation != 0)
    throw Error(ErrorKind::unsupported, name + ": a WebP that moves; take one picture of it");
  check_picture_size(static_cast<std::uint64_t>(features.width),
                     static_cast<std::uint64_t>(features.height), max_pixels, name);
  std::vector<std::uint8_t> rgba(std::size_t{4} * static_cast<std::size_t>(features.width) *
                                 static_cast<std::size_t>(features.height));
  if (WebPDecodeRGBAInto(file.bytes, file.size, rgba.data(), rgba.size(), 4 * features.width) ==
      nullptr)
    throw Error(ErrorKind::corrupt_file, name + ": the WebP file is damaged or cut short");
  return {over_white(rgba, features.width, features.height), orientation_of(file), alpha_of(rgba)};
}

}  // namespace ernie_image
