// Peak resident memory of this process, anonymous and mapped apart.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "io/file_view.h"

namespace ernie_image {

/// The kernel keeps a peak only of the sum, so a thread looks every 20 ms while this lives.
class MemorySampler {
 public:
  MemorySampler();
  ~MemorySampler();
  MemorySampler(const MemorySampler&) = delete;
  MemorySampler& operator=(const MemorySampler&) = delete;

  /// The largest of each seen so far (not necessarily at the same moment).
  ResidentMemory peak();

 private:
  void sample_until_stopped();
  void sample();

  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  ResidentMemory peak_;
  std::thread thread_;
};

}  // namespace ernie_image
