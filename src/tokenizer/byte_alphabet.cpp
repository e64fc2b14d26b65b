#include "tokenizer/byte_alphabet.h"

#include <array>

namespace ernie_image {
namespace {

constexpr int kFirstSubstitute = 0x100;  // code point of the first byte that has no own character
constexpr int kCodePoints = kFirstSubstitute + 68;

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<std::array<char, 2>, 256> characters{};
  std::array<std::uint8_t, 256> lengths{};
  std::array<int, kCodePoints> bytes{};  // by code point; -1: not in the alphabet

  constexpr Alphabet() {
    for (int& byte : bytes) byte = -1;
    int substitute = kFirstSubstitute;
    for (int byte = 0; byte < 256; ++byte) {
      add(byte, stands_for_itself(byte) ? byte : substitute++);
    }
  }

 private:
  constexpr void add(int byte, int code_point) {
    bytes[code_point] = byte;
    lengths[byte] = code_point < 0x80 ? 1 : 2;
    characters[byte] = code_point < 0x80
                           ? std::array<char, 2>{static_cast<char>(code_point), 0}
                           : std::array<char, 2>{static_cast<char>(0xC0 | code_point >> 6),
                                                 static_cast<char>(0x80 | (code_point & 0x3F))};
  }
};

constexpr Alphabet kAlphabet;

// The byte of the character at `position`, or -1; advances `position`.
int next_byte(std::string_view token, std::size_t& position) {
  const auto first = static_cast<std::uint8_t>(token[position++]);
  if (first < 0x80) return kAlphabet.bytes[first];
  if (first >= 0xE0 || position == token.size()) return -1;
  const int code_point =
      (first & 0x1F) << 6 | (static_cast<std::uint8_t>(token[position++]) & 0x3F);
  return code_point < kCodePoints ? kAlphabet.bytes[code_point] : -1;
}

}  // namespace

std::string_view character_of_byte(std::uint8_t byte) {
  return {kAlphabet.characters[byte].data(), kAlphabet.lengths[byte]};
}

std::string spell_bytes(std::string_view bytes) {
  std::string spelled;
  spelled.reserve(2 * bytes.size());
  for (const char byte : bytes) spelled += character_of_byte(static_cast<std::uint8_t>(byte));
  return spelled;
}

std::string bytes_of_token(std::string_view token) {
  std::string bytes;
  for (std::size_t position = 0; position < token.size();) {
    const int byte = next_byte(token, position);
    if (byte < 0) return std::string(token);
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

}  // namespace ernie_image
