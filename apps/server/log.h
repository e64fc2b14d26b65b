// The server's log on stderr: one JSON object a line, or a line for people.
#pragma once

#include <chrono>
#include <string>

#include <nlohmann/json.hpp>

#include "ernie_image/log.h"

namespace ernie_image {

/// "2026-01-31T12:00:00.123Z"
std::string utc_time(std::chrono::system_clock::time_point time);

/// Messages below `level` are dropped from now on.
void set_log_level(LogLevel level);

/// Lines for whoever looks at a terminal, from now on.
void set_log_for_people();

/// "12:00:00 listening: host 127.0.0.1, port 7860"; a warning or an error says so.
std::string log_line_for_people(const std::string& time, LogLevel level, const std::string& message,
                                const nlohmann::json& fields);

/// {"time", "level", "message", and `fields`}, or the line above. From any thread.
void log_event(LogLevel level, const std::string& message,
               const nlohmann::json& fields = nlohmann::json::object());

}  // namespace ernie_image
