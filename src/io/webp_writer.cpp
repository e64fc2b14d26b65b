#include <webp/encode.h>
#include <webp/mux.h>

#include <memory>

#include "ernie_image/error.h"
#include "io/image_writers.h"

namespace ernie_image {
namespace {

using WebPBytes = std::unique_ptr<std::uint8_t, decltype(&WebPFree)>;
using Mux = std::unique_ptr<WebPMux, decltype(&WebPMuxDelete)>;

static_assert(kMaxWebpSidePx == WEBP_MAX_DIMENSION);

std::vector<std::uint8_t> encode_pixels(const Image& image, int quality) {
  const int stride = image.width_px * 3;
  std::uint8_t* output = nullptr;
  const std::size_t size = quality == 100
                               ? WebPEncodeLosslessRGB(image.rgb.data(), image.width_px,
                                                       image.height_px, stride, &output)
                               : WebPEncodeRGB(image.rgb.data(), image.width_px, image.height_px,
                                               stride, static_cast<float>(quality), &output);
  const WebPBytes bytes(output, WebPFree);
  if (size == 0) throw Error(ErrorKind::io, "cannot encode the WebP: out of memory");
  return {bytes.get(), bytes.get() + size};
}

std::vector<std::uint8_t> with_exif(const std::vector<std::uint8_t>& pixels,
                                    const std::string& exif) {
  constexpr int kCopy = 1;
  const WebPData image{pixels.data(), pixels.size()};
  const WebPData chunk{reinterpret_cast<const std::uint8_t*>(exif.data()), exif.size()};
  const Mux mux(WebPMuxCreate(&image, kCopy), WebPMuxDelete);
  WebPData assembled{nullptr, 0};
  const bool succeeded = mux != nullptr &&
                         WebPMuxSetChunk(mux.get(), "EXIF", &chunk, kCopy) == WEBP_MUX_OK &&
                         WebPMuxAssemble(mux.get(), &assembled) == WEBP_MUX_OK;
  const WebPBytes bytes(const_cast<std::uint8_t*>(assembled.bytes), WebPFree);
  if (!succeeded) throw Error(ErrorKind::io, "cannot add metadata to the WebP");
  return {bytes.get(), bytes.get() + assembled.size};
}

}  // namespace

std::vector<std::uint8_t> encode_webp(const Image& image, int quality, const std::string& exif) {
  std::vector<std::uint8_t> pixels = encode_pixels(image, quality);
  return exif.empty() ? pixels : with_exif(pixels, exif);
}

}  // namespace ernie_image
