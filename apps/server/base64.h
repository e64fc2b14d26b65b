// Bytes as JSON can carry them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ernie_image {

std::string base64(std::string_view bytes);

/// Nothing if `text` is not base64 with its padding.
std::optional<std::string> base64_decoded(std::string_view text);

}  // namespace ernie_image
