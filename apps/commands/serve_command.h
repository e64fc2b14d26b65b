// `ernie-image serve`: pictures over HTTP.
#pragma once

#include "common/flags.h"

namespace ernie_image {

Command add_serve_command(CLI::App& program);

}  // namespace ernie_image
