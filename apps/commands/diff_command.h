// `ernie-image diff`: where two ways to run a model part.
#pragma once

#include "common/flags.h"

namespace ernie_image {

Command add_diff_command(CLI::App& program);

}  // namespace ernie_image
