// `ernie-image devices`: what this build can compute on here.
#pragma once

#include "common/flags.h"

namespace ernie_image {

Command add_devices_command(CLI::App& program);

}  // namespace ernie_image
