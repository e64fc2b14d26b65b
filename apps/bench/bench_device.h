// `ernie-image bench --device`: operations of a device with a queue and memory of its own, at the
// sizes of the released model.
#pragma once

#include "bench/bench_command.h"

namespace ernie_image {

/// Prints a table or JSON; 0 on success.
int run_device_bench(const BenchOptions& options);

}  // namespace ernie_image
