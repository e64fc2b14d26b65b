// The time that jobs are stamped with.
#pragma once

#include <chrono>
#include <cstdint>

namespace ernie_image {

/// Milliseconds since 1970.
inline std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace ernie_image
