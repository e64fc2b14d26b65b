// `ernie-image bench`: the flags of the measurements in bench_command.h.
#pragma once

#include "common/flags.h"

namespace ernie_image {

Command add_bench_command(CLI::App& program);

}  // namespace ernie_image
