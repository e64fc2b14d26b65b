// Amounts of memory.
#pragma once

#include <cstdint>
#include <string>

namespace ernie_image {

/// "1434 MiB" or "12.50 GiB", for people, who may type the number as a limit: rounded up.
std::string binary_size(std::uint64_t bytes);

}  // namespace ernie_image
