// `ernie-image worker`: one device that works for a queue.
#pragma once

#include "common/flags.h"

namespace ernie_image {

Command add_worker_command(CLI::App& program);

}  // namespace ernie_image
