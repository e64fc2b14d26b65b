// `ernie-image metrics`: how far two pictures are apart.
#pragma once

#include "common/flags.h"

namespace ernie_image {

Command add_metrics_command(CLI::App& program);

}  // namespace ernie_image
