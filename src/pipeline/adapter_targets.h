// What of a loaded model adapters may change.
#pragma once

#include "adapters/adapter_match.h"
#include "checkpoint/model.h"

namespace ernie_image {

AdapterTargets adapter_targets(Model& model);

}  // namespace ernie_image
