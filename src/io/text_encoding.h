// The character sets that picture metadata uses.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ernie_image {

/// The code points of `text`; nothing if it is not valid UTF-8.
std::optional<std::u32string> decode_utf8(std::string_view text);

/// Every byte string is Latin-1.
std::string utf8_from_latin1(std::string_view text);

/// Two big-endian bytes a unit; code points beyond 0xFFFF (emoji) as surrogate pairs.
std::string utf16be_from_code_points(std::u32string_view text);

/// Nothing if a surrogate stands alone or a byte is left over.
std::optional<std::u32string> decode_utf16(std::string_view bytes, bool big_endian);

/// Of code points as the decoders give them.
std::string utf8_from_code_points(std::u32string_view text);

}  // namespace ernie_image
