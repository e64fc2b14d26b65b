// Amounts of memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

namespace ernie_image {

/// "1.50 GiB", for people.
std::string gib(std::uint64_t bytes);

/// a - b, or 0 where that is negative.
inline std::uint64_t minus(std::uint64_t a, std::uint64_t b) { return a - std::min(a, b); }

}  // namespace ernie_image
