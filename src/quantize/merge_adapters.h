// A model folder with adapters merged into its weights, written.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "adapters/adapter_attachment.h"
#include "checkpoint/model.h"
#include "ernie_image/cancel.h"

namespace ernie_image {

struct MergeRequest {
  std::string output;
  std::vector<ActiveAdapter> adapters;
  std::shared_ptr<const CancelToken> cancel;
};

struct MergeResult {
  int files = 0;
  int merged_tensors = 0;
};

/// Writes `model`'s folder again: weights that adapters change rounded once to the type they have,
/// everything else as it is; model_index.json last, so that what is interrupted is no model. Throws
/// Error(invalid_argument) for an output that is not empty or lies within the model,
/// Error(unsupported) for weights that are quantised in the file and for a bias that the model has
/// no place for, Error(io | cancelled).
MergeResult merge_adapters(Model& model, const MergeRequest& request);

}  // namespace ernie_image
