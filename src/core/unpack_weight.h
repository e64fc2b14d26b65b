// Quantised linear weights back in float.
#pragma once

#include <cstdint>

#include "core/weight.h"

namespace ernie_image {

/// Row `row` of a packed weight [N, K]: f32 [K], with the rotation undone. Throws
/// Error(corrupt_file) if it is not as long as its layout says.
void unpack_row(const Weight& weight, std::int64_t row, float* target);

}  // namespace ernie_image
