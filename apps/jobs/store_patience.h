// How long a thread waits for a store that does not answer: a worker longer than somebody's
// request.
#pragma once

#include <chrono>

namespace ernie_image {

/// Of the calling thread, while it lives.
class StorePatience {
 public:
  explicit StorePatience(std::chrono::milliseconds patience) : before_(current()) {
    current() = patience;
  }
  ~StorePatience() { current() = before_; }
  StorePatience(const StorePatience&) = delete;
  StorePatience& operator=(const StorePatience&) = delete;

  /// For one command; long enough for a store that is restarted, if nothing else is said.
  static std::chrono::milliseconds& current() {
    static thread_local std::chrono::milliseconds patience{15'000};
    return patience;
  }

 private:
  std::chrono::milliseconds before_;
};

}  // namespace ernie_image
