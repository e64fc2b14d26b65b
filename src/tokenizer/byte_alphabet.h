// The GPT-2 byte alphabet: every byte has a printable character, so that a vocabulary of byte
// strings can be written as text. Printable Latin-1 stands for itself, the 68 other bytes in
// increasing order for U+0100 onwards.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ernie_image {

/// The character of one byte, as UTF-8 (1 or 2 bytes).
std::string_view character_of_byte(std::uint8_t byte);

/// Every byte replaced by its character.
std::string spell_bytes(std::string_view bytes);

/// The reverse; a token with a character outside the alphabet stands for its own UTF-8 bytes.
std::string bytes_of_token(std::string_view token);

}  // namespace ernie_image
