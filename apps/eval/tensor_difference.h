// How far two tensors of a run are apart.
#pragma once

#include <cstdint>
#include <optional>

#include "core/tensor.h"

namespace ernie_image {

struct TensorDifference {
  double max_absolute = 0;       ///< of a - b; infinite if one is not finite where the other is
  double nmse = 0;               ///< mean((a - b)^2) / mean(b^2); b is the one trusted
  double relative_error = 0;     ///< sqrt(nmse)
  std::optional<double> cosine;  ///< nothing if one of them is zero everywhere
  std::int64_t first_non_finite_a = -1;  ///< index of the first NaN or infinity, or -1
  std::int64_t first_non_finite_b = -1;
};

/// Of host tensors of any type that the pipeline records. Nothing if the shapes differ.
std::optional<TensorDifference> compare_tensors(const Tensor& a, const Tensor& b);

}  // namespace ernie_image
