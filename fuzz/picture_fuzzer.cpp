// A picture that somebody brings, PNG, JPEG or WebP: as pixels, as a mask, and the texts in it.
#include "io/picture_reader.h"

#include <cstdlib>
#include <span>

#include "ernie_image/error.h"
#include "io/image_file.h"
#include "memory_file.h"

namespace {

using namespace ernie_image;

constexpr std::size_t kMaxPixels = 1 << 16;  // larger ones only cost time

void ignore_errors(const auto& action) {
  try {
    action();
  } catch (const Error&) {
  }
}

std::size_t pixels(int width_px, int height_px) {
  return static_cast<std::size_t>(width_px) * static_cast<std::size_t>(height_px);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  ignore_errors([&] {
    const Image image = read_picture(bytes, "picture", kMaxPixels);
    const std::size_t count = pixels(image.width_px, image.height_px);
    if (count == 0 || count > kMaxPixels || image.rgb.size() != 3 * count) std::abort();
  });
  ignore_errors([&] {
    const Mask mask = read_mask(bytes, "mask", kMaxPixels);
    if (mask.values.size() != pixels(mask.width_px, mask.height_px)) std::abort();
  });
  ignore_errors([&] {
    const MemoryFile file(data, size);
    read_image_metadata(open_file(file.path()), 1 << 20);
  });
  return 0;
}
