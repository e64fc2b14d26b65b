// Structured logs: one JSON object a line on stderr.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "ernie_image/log.h"

namespace ernie_image {

/// Messages below `level` are dropped from now on.
void set_log_level(LogLevel level);

/// {"time", "level", "message", and `fields`}. From any thread.
void log_event(LogLevel level, const std::string& message,
               const nlohmann::json& fields = nlohmann::json::object());

}  // namespace ernie_image
