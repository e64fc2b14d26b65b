// A picture that is read must be whole, and must survive being written again with its metadata.
#include "ernie_image/error.h"
#include "io/image_file.h"
#include "memory_file.h"

namespace {

using ernie_image::ImageFile;

void check_round_trip(const ImageFile& file) {
  const auto pixels = static_cast<std::size_t>(file.image.width_px) *
                      static_cast<std::size_t>(file.image.height_px);
  if (file.image.rgb.size() != pixels * 3) std::abort();
  if (pixels > 1 << 16) return;  // large ones only cost time
  const auto bytes = ernie_image::encode_image(file.image, {}, file.metadata);
  const ernie_image::MemoryFile again(bytes.data(), bytes.size());
  const ImageFile copy = ernie_image::read_png(again.path());
  if (copy.image.rgb != file.image.rgb || copy.metadata != file.metadata) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ernie_image::MemoryFile input(data, size);
  try {
    check_round_trip(ernie_image::read_png(input.path()));
  } catch (const ernie_image::Error&) {
  }
  return 0;
}
