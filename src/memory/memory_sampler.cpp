#include "memory/memory_sampler.h"

#include <algorithm>
#include <chrono>
#include <exception>

#include "core/start_thread.h"

namespace ernie_image {

MemorySampler::MemorySampler() : thread_(start_thread([this] { sample_until_stopped(); })) {}

MemorySampler::~MemorySampler() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_one();
  thread_.join();
}

PeakMemory MemorySampler::peak() {
  const std::lock_guard lock(mutex_);
  sample();
  return peak_;
}

void MemorySampler::sample_until_stopped() {
  constexpr auto kPeriod = std::chrono::milliseconds(20);
  std::unique_lock lock(mutex_);
  while (!stop_) {
    try {
      sample();
    } catch (const std::exception&) {
      // No memory to look, or no file descriptor: the next time may see more.
    }
    stopped_.wait_for(lock, kPeriod, [this] { return stop_; });
  }
}

void MemorySampler::restart() {
  const std::lock_guard lock(mutex_);
  peak_ = {};
}

void MemorySampler::sample() {
  const ResidentMemory now = resident_memory();
  peak_.anonymous_bytes = std::max<std::uint64_t>(peak_.anonymous_bytes, now.anonymous_bytes);
  peak_.file_bytes = std::max<std::uint64_t>(peak_.file_bytes, now.file_bytes);
  peak_.total_bytes =
      std::max<std::uint64_t>(peak_.total_bytes, now.anonymous_bytes + now.file_bytes);
}

}  // namespace ernie_image
