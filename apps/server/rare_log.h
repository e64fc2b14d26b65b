// A line of the log for what may happen a thousand times a second: once a second at most, with how
// often it happened since the last.
#pragma once

#include <chrono>
#include <map>
#include <string>

#include "server/log.h"

namespace ernie_image {

/// One thread at a time.
class RareLog {
 public:
  void warn(const std::string& message, const std::string& reason);

 private:
  struct Line {
    std::chrono::steady_clock::time_point last;
    int left_out = 0;
  };
  std::map<std::string, Line> lines_;  ///< by message and reason: few
};

}  // namespace ernie_image
