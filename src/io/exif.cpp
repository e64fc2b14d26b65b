// Written by hand, some fixed bytes and the texts: Exiv2 converts comments to UCS-2, which has no
// emoji, and its licence (GPL) would pass to every program that links this library.
// Reference: Exif 2.32, sections 4.6.2 (IFD structure) and 4.6.5 (MakerNote, UserComment).
#include "io/exif.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>

#include "ernie_image/error.h"
#include "io/text_encoding.h"

namespace ernie_image {
namespace {

enum Tag : std::uint16_t {
  kOrientation = 0x0112,
  kExifIfd = 0x8769,
  kExifVersion = 0x9000,
  kMakerNote = 0x927c,
  kUserComment = 0x9286
};
enum Type : std::uint16_t { kShort = 3, kLong = 4, kUndefined = 7 };

constexpr std::uint32_t kIfd0Offset = 8;
constexpr std::uint32_t kExifIfdOffset = kIfd0Offset + 2 + 12 + 4;
constexpr std::uint32_t kEntryBytes = 12;
constexpr std::string_view kUnicode("UNICODE\0", 8), kAscii("ASCII\0\0\0", 8);
constexpr std::string_view kNotePrefix("ernie-image\0", 12);

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

/// Numbers of either byte order, 0 beyond the end, and directories of entries.
class TiffReader {
 public:
  explicit TiffReader(std::span<const std::byte> bytes)
      : bytes_(bytes), big_endian_(!bytes.empty() && bytes[0] == std::byte{'M'}) {}

  bool is_tiff() const { return at16(2) == 42; }
  bool big_endian() const { return big_endian_; }

  std::uint32_t at16(std::size_t offset) const {
    const std::uint32_t first = byte(offset), second = byte(offset + 1);
    return big_endian_ ? first << 8 | second : second << 8 | first;
  }
  std::uint32_t at32(std::size_t offset) const {
    const std::uint32_t first = at16(offset), second = at16(offset + 2);
    return big_endian_ ? first << 16 | second : second << 16 | first;
  }

  /// Offset of the entry with that tag and type; nothing if the directory at `offset` has none.
  std::optional<std::size_t> find(std::size_t offset, Tag tag, Type type) const {
    const std::size_t entries = at16(offset);
    for (std::size_t i = 0; i < entries; ++i) {
      const std::size_t entry = offset + 2 + i * kEntryBytes;
      if (at16(entry) == tag && at16(entry + 2) == type) return entry;
    }
    return std::nullopt;
  }
  /// The bytes of an entry that is too long to be held in itself; none beyond the end.
  std::string_view bytes_of(std::size_t entry) const {
    const std::size_t size = at32(entry + 4), offset = at32(entry + 8);
    if (size <= 4 || offset > bytes_.size() || size > bytes_.size() - offset) return {};
    return {reinterpret_cast<const char*>(bytes_.data()) + offset, size};
  }

 private:
  std::uint32_t byte(std::size_t offset) const {
    return offset < bytes_.size() ? static_cast<std::uint32_t>(bytes_[offset]) : 0;
  }

  std::span<const std::byte> bytes_;
  bool big_endian_;
};

std::size_t count_ascii(const std::optional<std::u32string>& text) {
  return text ? static_cast<std::size_t>(
                    std::ranges::count_if(*text, [](char32_t c) { return c < 0x80; }))
              : 0;
}

/// The standard leaves the byte order open, and programs differ, also from that of the structure:
/// the one that makes more Latin letters is right, for settings are written in them.
std::string utf8_of_utf16(std::string_view bytes) {
  const auto big = decode_utf16(bytes, true), little = decode_utf16(bytes, false);
  const auto& text = count_ascii(little) > count_ascii(big) ? little : big;
  return text ? utf8_from_code_points(*text) : "";
}

std::string comment_text(std::string_view value) {
  if (value.size() < kUnicode.size()) return "";
  const std::string_view kind = value.substr(0, kUnicode.size());
  std::string_view text = value.substr(kind.size());
  if (kind == kUnicode) return utf8_of_utf16(text);
  if (kind != kAscii && kind != std::string_view("\0\0\0\0\0\0\0\0", 8)) return "";
  text = text.substr(0, text.find('\0'));
  return decode_utf8(text) ? std::string(text) : utf8_from_latin1(text);
}

struct ExifTexts {
  std::string comment;  // UTF-8
  std::string note;     // of this program; empty: none
};

ExifTexts read_exif(std::span<const std::byte> tiff) {
  ExifTexts texts;
  const TiffReader reader(tiff);
  if (!reader.is_tiff()) return texts;
  const auto pointer = reader.find(reader.at32(4), kExifIfd, kLong);
  if (!pointer) return texts;
  const std::size_t directory = reader.at32(*pointer + 8);
  if (const auto entry = reader.find(directory, kUserComment, kUndefined))
    texts.comment = comment_text(reader.bytes_of(*entry));
  if (const auto entry = reader.find(directory, kMakerNote, kUndefined)) {
    const std::string_view note = reader.bytes_of(*entry);
    if (note.starts_with(kNotePrefix)) texts.note = note.substr(kNotePrefix.size());
  }
  return texts;
}

std::string write_exif(const ExifTexts& texts) {
  const auto points = decode_utf8(texts.comment);
  if (!points) throw Error(ErrorKind::invalid_argument, "metadata text is not UTF-8");
  // Big-endian throughout: the standard leaves the byte order of the text open, and the programs
  // that read generation parameters from here expect UTF-16BE.
  const std::string comment = std::string(kUnicode) + utf16be_from_code_points(*points);
  const std::string note = texts.note.empty() ? "" : std::string(kNotePrefix) + texts.note;
  const std::uint32_t entries = note.empty() ? 2 : 3;
  const std::uint32_t note_offset = kExifIfdOffset + 2 + entries * kEntryBytes + 4;
  if (comment.size() + note.size() > std::numeric_limits<std::uint32_t>::max() - note_offset) {
    throw Error(ErrorKind::invalid_argument, "metadata text is too long for EXIF");
  }
  const auto note_bytes = static_cast<std::uint32_t>(note.size());
  std::string exif = "MM";
  append16(exif, 42);
  append32(exif, kIfd0Offset);
  append16(exif, 1);  // entries
  append_entry(exif, kExifIfd, kLong, 1, kExifIfdOffset);
  append32(exif, 0);  // no further directory
  append16(exif, entries);
  append_entry(exif, kExifVersion, kUndefined, 4, 0x30323332);  // "0232"
  if (!note.empty()) append_entry(exif, kMakerNote, kUndefined, note_bytes, note_offset);
  append_entry(exif, kUserComment, kUndefined, static_cast<std::uint32_t>(comment.size()),
               note_offset + note_bytes);
  append32(exif, 0);
  return exif + note + comment;
}

}  // namespace

int exif_orientation(std::span<const std::byte> tiff) {
  const TiffReader reader(tiff);
  if (!reader.is_tiff()) return 1;
  const auto entry = reader.find(reader.at32(4), kOrientation, kShort);
  const std::uint32_t value = entry ? reader.at16(*entry + 8) : 1;
  return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
}

std::string exif_of(const ImageMetadata& metadata, int quality, std::size_t max_bytes) {
  const auto parameters = metadata.find(kParametersChunk), record = metadata.find(kRecordChunk);
  ExifTexts texts;
  if (parameters != metadata.end()) texts.comment = parameters->second;
  if (record != metadata.end()) texts.note = std::to_string(quality) + '\0' + record->second;
  if (texts.comment.empty() && texts.note.empty()) return "";
  std::string exif = write_exif(texts);
  if (exif.size() > max_bytes) exif = write_exif({std::move(texts.comment), ""});
  return exif;
}

ExifMetadata metadata_of_exif(std::span<const std::byte> tiff) {
  const ExifTexts texts = read_exif(tiff);
  ExifMetadata result;
  if (!texts.comment.empty()) result.metadata[kParametersChunk] = texts.comment;
  const char* const end = texts.note.data() + texts.note.size();
  const auto [rest, error] = std::from_chars(texts.note.data(), end, result.quality);
  const bool is_note = error == std::errc() && rest != end && *rest == '\0';
  if (is_note && result.quality >= 1 && result.quality <= 100) {
    result.metadata[kRecordChunk] = std::string(rest + 1, end);
  } else {
    result.quality = 0;
  }
  return result;
}

}  // namespace ernie_image
