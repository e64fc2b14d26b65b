// How long a thread waits for a store that does not answer, where that is less than the store's own
// patience (QueueOptions): somebody's request is told sooner than a worker.
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

  /// The most that one command may take; of a thread that says nothing, without limit.
  static std::chrono::milliseconds& current() {
    static thread_local std::chrono::milliseconds patience = std::chrono::milliseconds::max();
    return patience;
  }

 private:
  std::chrono::milliseconds before_;
};

}  // namespace ernie_image
