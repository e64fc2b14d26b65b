// Well-formedness after the Unicode Standard, table 3-7.
#include "tokenizer/utf8.h"

#include <cstdint>

namespace ernie_image {
namespace {

struct Step {
  bool well_formed;
  std::size_t length;  // bytes of the character, or of the maximal ill-formed part; at least 1
};

// What a lead byte asks for: bytes in all (0: no lead byte) and the range of the second one.
struct Lead {
  std::size_t length;
  std::uint8_t second_min;
  std::uint8_t second_max;
};

Lead classify(std::uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// Precondition: position < text.size().
Step step(std::string_view text, std::size_t position) {
  const Lead lead = classify(static_cast<std::uint8_t>(text[position]));
  if (lead.length == 0) return {false, 1};
  for (std::size_t i = 1; i < lead.length; ++i) {
    if (position + i == text.size()) return {false, i};
    const auto byte = static_cast<std::uint8_t>(text[position + i]);
    const std::uint8_t min = i == 1 ? lead.second_min : 0x80;
    const std::uint8_t max = i == 1 ? lead.second_max : 0xBF;
    if (byte < min || byte > max) return {false, i};
  }
  return {true, lead.length};
}

}  // namespace

std::optional<std::size_t> find_invalid_utf8(std::string_view text) {
  for (std::size_t position = 0; position < text.size();) {
    const Step next = step(text, position);
    if (!next.well_formed) return position;
    position += next.length;
  }
  return std::nullopt;
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (std::size_t position = 0; position < bytes.size();) {
    const Step next = step(bytes, position);
    text += next.well_formed ? bytes.substr(position, next.length) : "\uFFFD";
    position += next.length;
  }
  return text;
}

}  // namespace ernie_image
