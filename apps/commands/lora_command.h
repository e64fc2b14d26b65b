// `ernie-image lora`: adapters looked at and rewritten.
#pragma once

#include "common/flags.h"

namespace ernie_image {

Command add_lora_command(CLI::App& program);

}  // namespace ernie_image
