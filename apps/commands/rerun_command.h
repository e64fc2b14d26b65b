// `ernie-image rerun`: makes a picture again from its own metadata and compares the pixels.
#pragma once

#include "common/flags.h"

namespace ernie_image {

Command add_rerun_command(CLI::App& program);

}  // namespace ernie_image
