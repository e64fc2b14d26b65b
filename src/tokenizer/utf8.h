// UTF-8: checking text that comes in, repairing text that goes out.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace ernie_image {

/// Offset of the first byte that does not belong to a well-formed character (overlong forms,
/// surrogates and code points beyond U+10FFFF are not well-formed); nothing if all is well.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

/// `bytes` with U+FFFD for each maximal ill-formed part, as Python's errors="replace" does.
std::string replace_invalid_utf8(std::string_view bytes);

}  // namespace ernie_image
