// `ernie-image generate`: text to picture files.
#pragma once

#include "common/flags.h"

namespace ernie_image {

Command add_generate_command(CLI::App& program);

}  // namespace ernie_image
