// Asking long work to stop.
#pragma once

#include <atomic>

#include "ernie_image/error.h"

namespace ernie_image {

/// Set from any thread (or a signal handler); polled by the thread pool between chunks of work,
/// so that even one long matrix product stops within a fraction of a second.
class ERNIE_IMAGE_API CancelToken {
 public:
  void request() noexcept { requested_.store(true, std::memory_order_relaxed); }
  bool requested() const noexcept { return requested_.load(std::memory_order_relaxed); }
  void throw_if_requested() const {
    if (requested()) throw Error(ErrorKind::cancelled, "cancelled");
  }

 private:
  std::atomic<bool> requested_{false};
};

}  // namespace ernie_image
