// When a job did what, in the format of chrome://tracing and Perfetto.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace ernie_image {

/// Spans that follow each other without a gap.
class ChromeTrace {
 public:
  /// Ends a span that began where the last one ended.
  void add(const std::string& name);
  /// {"traceEvents": [...]}
  std::string json() const;

 private:
  struct Span {
    std::string name;
    std::int64_t begin_us;
    std::int64_t end_us;
  };

  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::vector<Span> spans_;
};

}  // namespace ernie_image
