// A picture that is read must be whole, and must survive being written again with its metadata.
#include "ernie_image/error.h"
#include "io/image_file.h"
#include "memory_file.h"

#include <vector>

namespace {

using ernie_image::ImageFile;

void check_round_trip(const ImageFile& file) {
  const auto pixels = static_cast<std::size_t>(file.image.width_px) *
                      static_cast<std::size_t>(file.image.height_px);
  if (file.image.rgb.size() != pixels * 3) std::abort();
  if (pixels > 1 << 16) return;  // large ones only cost time
  const auto bytes = ernie_image::encode_image(file.image, {}, file.metadata);
  const ernie_image::MemoryFile again(bytes.data(), bytes.size());
  const ImageFile copy = ernie_image::read_image(again.path());
  if (copy.image.rgb != file.image.rgb || copy.metadata != file.metadata) std::abort();
}

void check(const std::uint8_t* data, std::size_t size) {
  const ernie_image::MemoryFile input(data, size);
  try {
    check_round_trip(ernie_image::read_image(input.path()));
  } catch (const ernie_image::Error&) {
  }
}

std::uint32_t crc_of(const std::uint8_t* bytes, std::size_t size) {
  std::uint32_t crc = ~0U;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xEDB88320U : 0U);
  }
  return ~crc;
}

/// The same with checksums that hold, as far as there are whole chunks.
std::vector<std::uint8_t> repaired(const std::uint8_t* data, std::size_t size) {
  std::vector<std::uint8_t> bytes(data, data + size);
  for (std::size_t at = 8; at + 12 <= size;) {
    const std::size_t length = std::size_t{bytes[at]} << 24 | std::size_t{bytes[at + 1]} << 16 |
                               std::size_t{bytes[at + 2]} << 8 | bytes[at + 3];
    if (length > size - at - 12) break;
    const std::uint32_t crc = crc_of(&bytes[at + 4], length + 4);
    for (std::size_t i = 0; i < 4; ++i) {
      bytes[at + 8 + length + i] = static_cast<std::uint8_t>(crc >> (24 - 8 * i));
    }
    at += 12 + length;
  }
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  check(data, size);
  const std::vector<std::uint8_t> whole = repaired(data, size);
  check(whole.data(), whole.size());
  return 0;
}
