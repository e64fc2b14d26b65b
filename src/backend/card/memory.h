// Memory of one card: a caching pool for activations, plain blocks for weights, pinned host memory.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "backend/card/device.h"

namespace ernie_image::card {

/// A block of the card, freed with the object, which may be only when no queued work uses it.
class DeviceBlock {
 public:
  DeviceBlock() = default;
  /// Throws Error(out_of_memory).
  DeviceBlock(const Device& device, std::size_t bytes);
  ~DeviceBlock();
  DeviceBlock(DeviceBlock&& other) noexcept;
  DeviceBlock& operator=(DeviceBlock&& other) noexcept;

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  const Device* device_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Host memory from which the card copies by itself.
class PinnedBlock {
 public:
  PinnedBlock(const Device& device, std::size_t bytes);
  ~PinnedBlock() { device_.free_pinned(data_); }
  PinnedBlock(const PinnedBlock&) = delete;
  PinnedBlock& operator=(const PinnedBlock&) = delete;

  std::byte* data() const { return data_; }

 private:
  const Device& device_;
  std::byte* data_;
};

/// Activations. A block that was given back is handed out again at once, although the queue may not
/// have passed its last use: whoever gets it queues behind that. For this all users of one pool
/// share one queue.
class MemoryPool : public std::enable_shared_from_this<MemoryPool> {
 public:
  MemoryPool(std::shared_ptr<const Device> device, std::shared_ptr<const Queue> queue);
  ~MemoryPool() { queue_->try_synchronize(); }

  /// May outlive everything but the pool, which it keeps. Throws Error(out_of_memory).
  std::shared_ptr<std::byte> allocate(std::size_t bytes);

  /// Used and cached, and the most of it since the last reset.
  std::size_t held_bytes() const;
  std::size_t peak_held_bytes() const;
  void reset_peak();
  /// Waits for the queue and frees what nobody holds.
  void release_cache();

  /// Between these, blocks come from and go back to memory of their own, which whoever replays the
  /// recorded work keeps with what `end_recording` returns.
  void begin_recording();
  std::shared_ptr<void> end_recording();

 private:
  /// Blocks that nobody holds, by size.
  struct Arena {
    std::map<std::size_t, std::vector<DeviceBlock>> free;
  };

  DeviceBlock take(Arena& arena, std::size_t size);
  DeviceBlock fresh(std::size_t size);
  std::size_t held() const;
  void give_back(Arena& arena, DeviceBlock block);

  std::shared_ptr<const Device> device_;
  std::shared_ptr<const Queue> queue_;
  mutable std::mutex mutex_;
  std::shared_ptr<Arena> arena_;
  std::shared_ptr<Arena> recording_;
  std::size_t used_ = 0;
  std::size_t peak_held_ = 0;
};

}  // namespace ernie_image::card
