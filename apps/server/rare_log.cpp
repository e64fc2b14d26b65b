#include "server/rare_log.h"

namespace ernie_image {
namespace {

constexpr std::chrono::seconds kInterval{1};

}  // namespace

void RareLog::warn(const std::string& message, const std::string& reason) {
  const auto now = std::chrono::steady_clock::now();
  const auto [line, is_first] = lines_.try_emplace(message + ": " + reason);
  if (!is_first && now - line->second.last < kInterval) {
    ++line->second.left_out;
    return;
  }
  log_event(LogLevel::warning, message, {{"reason", reason}, {"times", line->second.left_out + 1}});
  line->second = {now, 0};
}

}  // namespace ernie_image
