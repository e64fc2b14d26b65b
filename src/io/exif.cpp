// Written by hand, 64 fixed bytes and the text: Exiv2 converts comments to UCS-2, which has no
// emoji, and its licence (GPL) would pass to every program that links this library.
// Reference: Exif 2.32, sections 4.6.2 (IFD structure) and 4.6.5 (UserComment).
#include "io/exif.h"

#include <cstdint>
#include <limits>

#include "ernie_image/error.h"
#include "io/text_encoding.h"

namespace ernie_image {
namespace {

enum Tag : std::uint16_t {
  kOrientation = 0x0112,
  kExifIfd = 0x8769,
  kExifVersion = 0x9000,
  kUserComment = 0x9286
};
enum Type : std::uint16_t { kShort = 3, kLong = 4, kUndefined = 7 };

constexpr std::uint32_t kIfd0Offset = 8;
constexpr std::uint32_t kExifIfdOffset = kIfd0Offset + 2 + 12 + 4;
constexpr std::uint32_t kCommentOffset = kExifIfdOffset + 2 + 2 * 12 + 4;

void append16(std::string& text, std::uint32_t value) {
  text += static_cast<char>(value >> 8);
  text += static_cast<char>(value & 0xff);
}

void append32(std::string& text, std::uint32_t value) {
  append16(text, value >> 16);
  append16(text, value & 0xffff);
}

/// `value` is the value itself if it fits into four bytes, else its offset.
void append_entry(std::string& text, Tag tag, Type type, std::uint32_t count, std::uint32_t value) {
  append16(text, tag);
  append16(text, type);
  append32(text, count);
  append32(text, value);
}

/// Numbers of either byte order; 0 beyond the end.
class TiffNumbers {
 public:
  TiffNumbers(std::span<const std::byte> bytes, bool big_endian)
      : bytes_(bytes), big_endian_(big_endian) {}

  std::uint32_t at16(std::size_t offset) const {
    const std::uint32_t first = byte(offset), second = byte(offset + 1);
    return big_endian_ ? first << 8 | second : second << 8 | first;
  }
  std::uint32_t at32(std::size_t offset) const {
    const std::uint32_t first = at16(offset), second = at16(offset + 2);
    return big_endian_ ? first << 16 | second : second << 16 | first;
  }

 private:
  std::uint32_t byte(std::size_t offset) const {
    return offset < bytes_.size() ? static_cast<std::uint32_t>(bytes_[offset]) : 0;
  }

  std::span<const std::byte> bytes_;
  bool big_endian_;
};

}  // namespace

int exif_orientation(std::span<const std::byte> tiff) {
  constexpr std::size_t kEntryBytes = 12;
  const TiffNumbers numbers(tiff, !tiff.empty() && tiff[0] == std::byte{'M'});
  if (numbers.at16(2) != 42) return 1;
  const std::size_t directory = numbers.at32(4);
  const std::size_t entries = numbers.at16(directory);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + i * kEntryBytes;
    if (numbers.at16(entry) != kOrientation || numbers.at16(entry + 2) != kShort) continue;
    const std::uint32_t value = numbers.at16(entry + 8);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

std::string exif_with_user_comment(std::string_view comment) {
  const auto points = decode_utf8(comment);
  if (!points) throw Error(ErrorKind::invalid_argument, "metadata text is not UTF-8");
  // Big-endian throughout: the standard leaves the byte order of the text open, and the programs
  // that read generation parameters from here expect UTF-16BE.
  const std::string text = std::string("UNICODE\0", 8) + utf16be_from_code_points(*points);
  if (text.size() > std::numeric_limits<std::uint32_t>::max() - kCommentOffset) {
    throw Error(ErrorKind::invalid_argument, "metadata text is too long for EXIF");
  }
  std::string exif = "MM";
  append16(exif, 42);
  append32(exif, kIfd0Offset);
  append16(exif, 1);  // entries
  append_entry(exif, kExifIfd, kLong, 1, kExifIfdOffset);
  append32(exif, 0);  // no further directory
  append16(exif, 2);
  append_entry(exif, kExifVersion, kUndefined, 4, 0x30323332);  // "0232"
  append_entry(exif, kUserComment, kUndefined, static_cast<std::uint32_t>(text.size()),
               kCommentOffset);
  append32(exif, 0);
  return exif + text;
}

}  // namespace ernie_image
