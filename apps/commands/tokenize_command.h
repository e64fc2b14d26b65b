// `ernie-image tokenize`: the ids that the text encoder would be fed.
#pragma once

#include "common/flags.h"

namespace ernie_image {

Command add_tokenize_command(CLI::App& program);

}  // namespace ernie_image
