#include "io/text_encoding.h"

#include <bit>

namespace ernie_image {
namespace {

struct Sequence {
  int length;         // bytes, 0 if the first byte starts no sequence
  char32_t smallest;  // anything below is an overlong form
  char32_t bits;      // of the first byte
};

Sequence sequence_of(unsigned char first) {
  const int ones = std::countl_one(first);
  if (ones == 0) return {1, 0, first};
  if (ones == 2) return {2, 0x80, first & 0x1fu};
  if (ones == 3) return {3, 0x800, first & 0x0fu};
  if (ones == 4) return {4, 0x10000, first & 0x07u};
  return {0, 0, 0};
}

void append_utf16be(std::string& text, char32_t unit) {
  text += static_cast<char>(unit >> 8);
  text += static_cast<char>(unit & 0xff);
}

}  // namespace

std::optional<std::u32string> decode_utf8(std::string_view text) {
  std::u32string result;
  while (!text.empty()) {
    const Sequence sequence = sequence_of(static_cast<unsigned char>(text[0]));
    const auto length = static_cast<std::size_t>(sequence.length);
    if (length == 0 || length > text.size()) return std::nullopt;
    char32_t point = sequence.bits;
    for (const char byte : text.substr(1, length - 1)) {
      if ((byte & 0xc0) != 0x80) return std::nullopt;
      point = (point << 6) | (static_cast<unsigned char>(byte) & 0x3fu);
    }
    const bool surrogate = point >= 0xd800 && point <= 0xdfff;
    if (point < sequence.smallest || point > 0x10ffff || surrogate) return std::nullopt;
    result += point;
    text.remove_prefix(length);
  }
  return result;
}

std::string utf8_from_latin1(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      result += c;
    } else {
      result += static_cast<char>(0xc0 | (byte >> 6));
      result += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return result;
}

std::string utf16be_from_code_points(std::u32string_view text) {
  std::string result;
  for (const char32_t point : text) {
    if (point < 0x10000) {
      append_utf16be(result, point);
    } else {
      append_utf16be(result, 0xd800 + ((point - 0x10000) >> 10));
      append_utf16be(result, 0xdc00 + ((point - 0x10000) & 0x3ff));
    }
  }
  return result;
}

std::optional<std::u32string> decode_utf16(std::string_view bytes, bool big_endian) {
  if (bytes.size() % 2 != 0) return std::nullopt;
  const auto unit_at = [&](std::size_t i) -> char32_t {
    const auto first = static_cast<unsigned char>(bytes[i]);
    const auto second = static_cast<unsigned char>(bytes[i + 1]);
    return big_endian ? first << 8 | second : second << 8 | first;
  };
  std::u32string result;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    char32_t point = unit_at(i);
    if (point >= 0xdc00 && point <= 0xdfff) return std::nullopt;
    if (point >= 0xd800 && point < 0xdc00) {
      i += 2;
      const char32_t low = i < bytes.size() ? unit_at(i) : 0;
      if (low < 0xdc00 || low > 0xdfff) return std::nullopt;
      point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    result += point;
  }
  return result;
}

std::string utf8_from_code_points(std::u32string_view text) {
  std::string result;
  for (const char32_t point : text) {
    // Lead byte with its length, then six bits a byte.
    const int more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    constexpr unsigned char kLeads[] = {0x00, 0xc0, 0xe0, 0xf0};
    result += static_cast<char>(kLeads[more] | (point >> (6 * more)));
    for (int left = more - 1; left >= 0; --left)
      result += static_cast<char>(0x80 | ((point >> (6 * left)) & 0x3f));
  }
  return result;
}

}  // namespace ernie_image
