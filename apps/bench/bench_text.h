// A layer of the text encoder at the released width, as an operation to be measured.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "backend/backend.h"
#include "core/weight.h"

namespace ernie_image {

struct TextLayerRun {
  std::vector<std::int64_t> shape;  ///< tokens, hidden, feed-forward
  std::int64_t products = 0;
  std::function<void()> run;
};

/// At 32, 128 and 512 tokens, activations in `dtype`. The backend must live as long as what is
/// returned.
std::vector<TextLayerRun> text_layer_runs(Backend& ops, WeightSource& weights, DType dtype);

}  // namespace ernie_image
