// Quantised linear weights back in float.
#pragma once

#include <cstdint>
#include <span>

#include "core/weight.h"

namespace ernie_image {

/// Row `row` of a packed weight [N, K]: f32 [K], with the rotation undone. Throws
/// Error(corrupt_file) if it is not as long as its layout says.
void unpack_row(const Weight& weight, std::int64_t row, float* target);

/// Times orthonormal Hadamard matrices of `width`, a power of two that divides the row, one for
/// each part of it: element (i, j) is negative if i & j has an odd number of bits. Its own inverse.
void rotate_row(std::span<float> row, std::int64_t width);

}  // namespace ernie_image
