// Rows of weights in float, whatever format they are stored in.
#pragma once

#include <cstdint>
#include <functional>

#include "core/tensor.h"
#include "core/weight.h"

namespace ernie_image {

/// Rows [begin, begin + count) of a weight [N, K] (or [N], as one column), as f32 [count, K].
/// Packed and encoded weights are decoded. Throws Error(unsupported) for a type that is no number
/// of ours.
void read_rows(const Weight& weight, std::int64_t begin, std::int64_t count, float* target);

/// All of a plain or encoded weight of any shape: host f32.
Tensor weight_values(const Weight& weight);

/// Calls body(begin, count) for blocks of at most 64 rows, on every CPU.
void for_each_row_block(std::int64_t rows,
                        const std::function<void(std::int64_t begin, std::int64_t count)>& body);

}  // namespace ernie_image
