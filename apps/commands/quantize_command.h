// `ernie-image quantize`: write a model folder with compressed weights.
#pragma once

#include "common/flags.h"

namespace ernie_image {

Command add_quantize_command(CLI::App& program);

}  // namespace ernie_image
