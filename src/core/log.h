// What is worth telling where the work goes on all the same: to the sink of ernie_image/log.h.
#pragma once

#include <string>

#include "ernie_image/log.h"

namespace ernie_image {

/// The message says where, what was found, and what is done about it. Does not throw.
void log_message(LogLevel level, const std::string& message) noexcept;

}  // namespace ernie_image
