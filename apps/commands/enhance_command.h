// `ernie-image enhance`
#pragma once

#include "common/flags.h"

namespace ernie_image {

Command add_enhance_command(CLI::App& program);

}  // namespace ernie_image
