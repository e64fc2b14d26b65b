#include "server/log.h"

#include <atomic>
#include <chrono>

#include <spdlog/fmt/chrono.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "common/console.h"

namespace ernie_image {
namespace {

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

const char* name_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warning:
      return "warning";
    case LogLevel::error:
      return "error";
  }
  return "info";
}

spdlog::logger& logger() {
  static spdlog::logger instance = [] {
    spdlog::logger made("server", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made.set_pattern("%v");
    made.flush_on(spdlog::level::debug);
    return made;
  }();
  return instance;
}

std::string local_time() {
  return fmt::format(
      "{:%H:%M:%S}",
      fmt::localtime(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())));
}

std::atomic<bool> is_for_people{false};

/// A text as it is but for what a terminal would obey.
std::string shown(const nlohmann::json& value) {
  return visible(value.is_string()
                     ? value.get<std::string>()
                     : value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

std::string utc_time(std::chrono::system_clock::time_point time) {
  using namespace std::chrono;
  const auto milliseconds =
      duration_cast<std::chrono::milliseconds>(time.time_since_epoch()) % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(system_clock::to_time_t(time)),
                     milliseconds.count());
}

void set_log_for_people() { is_for_people = true; }

std::string log_line_for_people(const std::string& time, LogLevel level, const std::string& message,
                                const nlohmann::json& fields) {
  std::string line = time + " ";
  if (level == LogLevel::warning) line += "Warning: ";
  if (level == LogLevel::error) line += "Error: ";
  line += visible(message);
  const char* separator = ": ";
  for (const auto& [name, value] : fields.items()) {
    line += separator + visible(name) + " " + shown(value);
    separator = ", ";
  }
  return line;
}

void set_log_level(LogLevel level) { logger().set_level(spdlog_level(level)); }

void log_event(LogLevel level, const std::string& message, const nlohmann::json& fields) {
  if (!logger().should_log(spdlog_level(level))) return;
  if (is_for_people) {
    logger().log(spdlog_level(level), log_line_for_people(local_time(), level, message, fields));
    return;
  }
  nlohmann::ordered_json line = {{"time", utc_time(std::chrono::system_clock::now())},
                                 {"level", name_of(level)},
                                 {"message", message}};
  for (const auto& [name, value] : fields.items()) line[name] = value;
  logger().log(spdlog_level(level),
               line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace ernie_image
