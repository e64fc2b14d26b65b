// The operations of a device, its layers and blocks, at the sizes of the released model.
#pragma once

#include <cstdint>
#include <functional>

#include "bench/meter.h"
#include "core/weight.h"

namespace ernie_image {

using OnSample = std::function<void(const BenchSample&)>;

/// Those that `options` wants, in groups of what belongs together. Backend and weights must outlive
/// the samples.
void each_operation(Backend& ops, WeightSource& weights, const BenchOptions& options, DType dtype,
                    const OnSample& on_sample);

}  // namespace ernie_image
