// A weight with adapters added to it.
#pragma once

#include <vector>

#include "adapters/adapter_module.h"

namespace ernie_image {

struct AdapterChange {
  const AdapterModule* module;
  double strength;
  const std::vector<float>* gains;  ///< AdapterModule::gains; empty without a magnitude
};

/// W with all changes: host f32 of its shape.
Tensor merged_weight(const Weight& weight, const std::vector<AdapterChange>& changes);

}  // namespace ernie_image
