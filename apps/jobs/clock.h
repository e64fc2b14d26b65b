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

/// A version of a job that is later than `last`. Versions are microseconds since 1970, so that they
/// go on growing when a new process takes the jobs over.
inline std::int64_t next_version(std::int64_t last) {
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  return last < now.count() ? now.count() : last + 1;
}

}  // namespace ernie_image
