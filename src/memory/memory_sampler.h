// Peak resident memory of this process, stage by stage.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "io/file_view.h"

namespace ernie_image {

struct PeakMemory {
  std::uint64_t anonymous_bytes = 0;
  std::uint64_t file_bytes = 0;   ///< the largest of each, not necessarily at the same moment
  std::uint64_t total_bytes = 0;  ///< of both together
};

/// The kernel keeps one peak for the life of a process, so a thread looks every 20 ms while this
/// lives.
class MemorySampler {
 public:
  MemorySampler();
  ~MemorySampler();
  MemorySampler(const MemorySampler&) = delete;
  MemorySampler& operator=(const MemorySampler&) = delete;

  /// The largest of each since the start or the last restart.
  PeakMemory peak();
  void restart();

 private:
  void sample_until_stopped();
  void sample();

  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  PeakMemory peak_;
  std::thread thread_;
};

}  // namespace ernie_image
