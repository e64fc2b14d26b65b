#include "backend/ascend/memory.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "ernie_image/error.h"

namespace ernie_image::ascend {
namespace {

/// Eight classes between a power of two and the next, 512 bytes at least: few enough for blocks to
/// be found again, close enough to waste little.
std::size_t size_class(std::size_t bytes) {
  const std::size_t wanted = std::max<std::size_t>(bytes + kSpareBytes, 512);
  const std::size_t step = std::max<std::size_t>(std::bit_floor(wanted) / 8, 512);
  return (wanted + step - 1) / step * step;
}

}  // namespace

DeviceBlock::DeviceBlock(const Device& device, std::size_t bytes)
    : device_(&device), bytes_(bytes) {
  device.bind();
  void* memory = nullptr;
  const aclError status = cann().aclrtMalloc(&memory, bytes, ACL_MEM_MALLOC_HUGE_FIRST);
  if (status != 0) {
    throw Error(ErrorKind::out_of_memory,
                "ascend:" + std::to_string(device.index()) + ": " + std::to_string(bytes) +
                    " bytes could not be had, " + std::to_string(device.free_bytes()) +
                    " are free; ask for a smaller picture or fewer at once, use --dtype bf16, or "
                    "--offload layers");
  }
  data_ = static_cast<std::byte*>(memory);
  device.count(static_cast<std::ptrdiff_t>(bytes));
}

DeviceBlock::~DeviceBlock() {
  if (data_ == nullptr) return;
  device_->count(-static_cast<std::ptrdiff_t>(bytes_));
  if (device_->try_bind()) cann().aclrtFree(data_);
}

DeviceBlock::DeviceBlock(DeviceBlock&& other) noexcept
    : device_(other.device_), data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}

DeviceBlock& DeviceBlock::operator=(DeviceBlock&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

PinnedBlock::PinnedBlock(std::size_t bytes) {
  void* memory = nullptr;
  require(cann().aclrtMallocHost(&memory, bytes),
          "aclrtMallocHost of " + std::to_string(bytes) + " bytes");
  data_ = static_cast<std::byte*>(memory);
}

PinnedBlock::~PinnedBlock() { cann().aclrtFreeHost(data_); }

MemoryPool::~MemoryPool() {
  if (device_->try_bind()) cann().aclrtSynchronizeStream(queue_->get());
}

std::shared_ptr<std::byte> MemoryPool::allocate(std::size_t bytes) {
  auto block = std::make_shared<DeviceBlock>(take(size_class(bytes)));
  std::byte* const data = block->data();
  return {data, [pool = shared_from_this(), block](std::byte*) mutable {
            pool->give_back(std::move(*block));
          }};
}

DeviceBlock MemoryPool::take(std::size_t size) {
  {
    const std::lock_guard lock(mutex_);
    std::vector<DeviceBlock>& blocks = free_[size];
    used_ += size;
    peak_ = std::max(peak_, used_);
    if (!blocks.empty()) {
      DeviceBlock block = std::move(blocks.back());
      blocks.pop_back();
      return block;
    }
  }
  try {
    return {*device_, size};
  } catch (const Error&) {
    release_cache();  // blocks of other sizes may be in the way
  }
  try {
    return {*device_, size};
  } catch (const Error&) {
    const std::lock_guard lock(mutex_);
    used_ -= size;
    throw;
  }
}

void MemoryPool::give_back(DeviceBlock block) {
  const std::lock_guard lock(mutex_);
  used_ -= block.bytes();
  free_[block.bytes()].push_back(std::move(block));
}

std::size_t MemoryPool::peak_bytes() const {
  const std::lock_guard lock(mutex_);
  return peak_;
}

void MemoryPool::reset_peak() {
  const std::lock_guard lock(mutex_);
  peak_ = used_;
}

void MemoryPool::release_cache() {
  device_->bind();
  queue_->synchronize();
  const std::lock_guard lock(mutex_);
  free_.clear();
}

}  // namespace ernie_image::ascend
