// Random bits that nobody can guess.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace ernie_image {

/// Two lower-case digits a byte.
std::string random_hex(std::size_t bytes);

/// A seed as the model takes it: 32 bits.
std::uint64_t random_seed();

}  // namespace ernie_image
