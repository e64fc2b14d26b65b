// Two runs compared tensor by tensor, in the order in which the pipeline computes them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "common/interrupt.h"
#include "eval/configuration.h"
#include "eval/tensor_difference.h"

namespace ernie_image {

struct StageDifference {
  std::string name;  ///< of the tensor, as --save-tensors writes it
  Shape shape_a, shape_b;
  std::optional<TensorDifference> difference;  ///< nothing if the shapes differ

  /// Shapes differ, values are not finite, or the relative error is above `tolerance`.
  bool is_past(double tolerance) const;
};

struct DiffSettings {
  Request request;  ///< one prompt
  Configuration a, b;
  bool inside_blocks = false;  ///< every tensor within the blocks, not only their outputs
  bool quiet = false;
};

struct DiffResult {
  std::vector<StageDifference> stages;
  std::vector<std::string> only_a, only_b;  ///< tensors that the other run does not have
};

/// Runs a, keeping its tensors in memory, then b, comparing each as it appears. Throws Error.
DiffResult compare_runs(const DiffSettings& settings, const InterruptGuard& interrupt);

/// Null if no stage is past it.
const StageDifference* first_past(const DiffResult& result, double tolerance);

}  // namespace ernie_image
