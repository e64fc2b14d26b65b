// `ernie-image inspect`: what a model folder holds and how much memory it needs.
#pragma once

#include "common/flags.h"

namespace ernie_image {

Command add_inspect_command(CLI::App& program);

}  // namespace ernie_image
