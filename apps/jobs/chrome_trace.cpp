#include "jobs/chrome_trace.h"

#include <nlohmann/json.hpp>

namespace ernie_image {

void ChromeTrace::add(const std::string& name) {
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now() - start_);
  spans_.push_back({name, spans_.empty() ? 0 : spans_.back().end_us, now.count()});
}

std::string ChromeTrace::json() const {
  auto events = nlohmann::json::array();
  for (const Span& span : spans_) {
    events.push_back({{"name", span.name},
                      {"ph", "X"},
                      {"pid", 1},
                      {"tid", 1},
                      {"ts", span.begin_us},
                      {"dur", span.end_us - span.begin_us}});
  }
  return nlohmann::json{{"traceEvents", events}}.dump();
}

}  // namespace ernie_image
