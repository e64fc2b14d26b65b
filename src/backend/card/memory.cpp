#include "backend/card/memory.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "ernie_image/error.h"

namespace ernie_image::card {

namespace {

/// Rounds up to one of eight classes between a power of two and the next, 512 bytes at least: few
/// enough for blocks to be found again, close enough to waste little.
std::size_t size_class(std::size_t bytes) {
  const std::size_t wanted = std::max<std::size_t>(bytes, 512);
  const std::size_t step = std::max<std::size_t>(std::bit_floor(wanted) / 8, 512);
  return (wanted + step - 1) / step * step;
}

}  // namespace

DeviceBlock::DeviceBlock(const Device& device, std::size_t bytes)
    : device_(&device), bytes_(bytes) {
  device.bind();
  data_ = static_cast<std::byte*>(device.allocate(bytes));
  if (data_ == nullptr) {
    throw Error(ErrorKind::out_of_memory,
                device.name() + ": " + std::to_string(bytes) + " bytes could not be had, " +
                    std::to_string(device.free_bytes()) +
                    " are free; ask for a smaller picture or fewer at once, use --dtype bf16, or "
                    "--offload layers");
  }
  device.count(static_cast<std::ptrdiff_t>(bytes));
}

DeviceBlock::~DeviceBlock() {
  if (data_ == nullptr) return;
  device_->count(-static_cast<std::ptrdiff_t>(bytes_));
  device_->free(data_);
}

DeviceBlock::DeviceBlock(DeviceBlock&& other) noexcept
    : device_(other.device_),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

DeviceBlock& DeviceBlock::operator=(DeviceBlock&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

PinnedBlock::PinnedBlock(const Device& device, std::size_t bytes)
    : device_(device), data_(static_cast<std::byte*>(device.allocate_pinned(bytes))) {}

MemoryPool::MemoryPool(std::shared_ptr<const Device> device, std::shared_ptr<const Queue> queue)
    : device_(std::move(device)), queue_(std::move(queue)), arena_(std::make_shared<Arena>()) {}

std::shared_ptr<std::byte> MemoryPool::allocate(std::size_t bytes) {
  const std::shared_ptr<Arena> arena = recording_ != nullptr ? recording_ : arena_;
  auto block =
      std::make_shared<DeviceBlock>(take(*arena, size_class(bytes + device_->spare_bytes())));
  std::byte* const data = block->data();
  return {data, [pool = shared_from_this(), arena, block](std::byte*) mutable {
            pool->give_back(*arena, std::move(*block));
          }};
}

DeviceBlock MemoryPool::take(Arena& arena, std::size_t size) {
  {
    const std::lock_guard lock(mutex_);
    std::vector<DeviceBlock>& blocks = arena.free[size];
    used_ += size;
    if (!blocks.empty()) {
      DeviceBlock block = std::move(blocks.back());
      blocks.pop_back();
      return block;
    }
  }
  if (recording_ == nullptr && !device_->has_room(size)) release_cache();
  try {
    return fresh(size);
  } catch (const Error&) {
    // Blocks of other sizes may be in the way; while recording, the queue cannot be waited for.
    if (recording_ == nullptr) release_cache();
  }
  try {
    return fresh(size);
  } catch (const Error&) {
    const std::lock_guard lock(mutex_);
    used_ -= size;
    throw;
  }
}

void MemoryPool::give_back(Arena& arena, DeviceBlock block) {
  const std::lock_guard lock(mutex_);
  used_ -= block.bytes();
  arena.free[block.bytes()].push_back(std::move(block));
}

/// `size` is in use already.
DeviceBlock MemoryPool::fresh(std::size_t size) {
  DeviceBlock block(*device_, size);
  const std::lock_guard lock(mutex_);
  peak_held_ = std::max(peak_held_, held());
  return block;
}

std::size_t MemoryPool::held() const {
  std::size_t bytes = used_;
  for (const auto& arena : {arena_, recording_}) {
    if (arena == nullptr) continue;
    for (const auto& [size, blocks] : arena->free) bytes += size * blocks.size();
  }
  return bytes;
}

std::size_t MemoryPool::held_bytes() const {
  const std::lock_guard lock(mutex_);
  return held();
}

std::size_t MemoryPool::peak_held_bytes() const {
  const std::lock_guard lock(mutex_);
  return peak_held_;
}

void MemoryPool::reset_peak() {
  const std::lock_guard lock(mutex_);
  peak_held_ = held();
}

void MemoryPool::release_cache() {
  device_->bind();
  queue_->synchronize();
  const std::lock_guard lock(mutex_);
  arena_->free.clear();
}

void MemoryPool::begin_recording() { recording_ = std::make_shared<Arena>(); }

std::shared_ptr<void> MemoryPool::end_recording() { return std::exchange(recording_, nullptr); }

}  // namespace ernie_image::card
