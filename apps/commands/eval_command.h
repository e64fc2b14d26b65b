// `ernie-image eval`: accuracy and speed of candidates against a baseline.
#pragma once

#include "common/flags.h"

namespace ernie_image {

Command add_eval_command(CLI::App& program);

}  // namespace ernie_image
