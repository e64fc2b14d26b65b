// The nearest matrix of a given rank, as two factors.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace ernie_image {

/// up down is the truncated singular value decomposition, the singular values shared evenly between
/// the two.
struct LowRankMatrix {
  Tensor down;         ///< f32 [r, K]
  Tensor up;           ///< f32 [N, r]
  double kept = 1;     ///< share of the squared length that is kept; 1 for a zero matrix
  double largest = 0;  ///< singular value
};

/// Of a matrix f32 [N, K]. `rank` is cut to min(N, K). Exact up to 512 columns or rows; above, by
/// subspace iteration from a fixed start, whose error beside the exact one is far below what is
/// dropped. Reference: Halko, Martinsson, Tropp, "Finding structure with randomness", 4.4.
LowRankMatrix low_rank_of(const Tensor& matrix, std::int64_t rank);

/// Of up [N, R] down [R, K], without ever making the product.
LowRankMatrix low_rank_of_product(const Tensor& up, const Tensor& down, std::int64_t rank);

}  // namespace ernie_image
