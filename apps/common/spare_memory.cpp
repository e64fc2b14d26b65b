#include "common/spare_memory.h"

#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ERNIE_IMAGE_HAS_SPARE_MEMORY 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ERNIE_IMAGE_HAS_SPARE_MEMORY 0
#endif
#endif
#ifndef ERNIE_IMAGE_HAS_SPARE_MEMORY
#define ERNIE_IMAGE_HAS_SPARE_MEMORY 1
#endif

namespace ernie_image {
namespace {

/// Blocks of one size; those that were given back are a list, which lies in themselves.
template <std::size_t BlockBytes, std::size_t Blocks>
class Spare {
 public:
  static constexpr std::size_t kBytes = BlockBytes * Blocks;

  void* take(std::size_t bytes) noexcept {
    if (bytes > BlockBytes) return nullptr;
    const std::lock_guard lock(mutex_);
    void* block = free_;
    if (block != nullptr) {
      free_ = *static_cast<void**>(block);
    } else if (touched_ < Blocks) {
      block = memory_ + BlockBytes * touched_++;
    }
    if (block != nullptr) ++used_;
    return block;
  }

  bool owns(const void* block) const noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(block);
    const auto begin = reinterpret_cast<std::uintptr_t>(memory_);
    return at >= begin && at < begin + kBytes;
  }

  void give_back(void* block) noexcept {
    const std::lock_guard lock(mutex_);
    *static_cast<void**>(block) = free_;
    free_ = block;
    --used_;
  }

  bool is_low() noexcept {
    const std::lock_guard lock(mutex_);
    return used_ > Blocks / 2;
  }

 private:
  std::mutex mutex_;
  void* free_ = nullptr;
  std::size_t touched_ = 0;
  std::size_t used_ = 0;
  alignas(64) std::byte memory_[kBytes] = {};
};

constexpr std::size_t kKinds = 3;
constinit Spare<64, kSpareBytes / kKinds / 64> tiny;
constinit Spare<512, kSpareBytes / kKinds / 512> small;
constinit Spare<kLargestSpare, kSpareBytes / kKinds / kLargestSpare> middling;

}  // namespace

bool spare_memory_is_low() noexcept { return tiny.is_low() || small.is_low() || middling.is_low(); }

#if ERNIE_IMAGE_HAS_SPARE_MEMORY

namespace {

void* spare_of(std::size_t bytes) noexcept {
  void* block = tiny.take(bytes);
  if (block == nullptr) block = small.take(bytes);
  if (block == nullptr) block = middling.take(bytes);
  return block;
}

void free_allocation(void* memory) noexcept {
  if (tiny.owns(memory)) return tiny.give_back(memory);
  if (small.owns(memory)) return small.give_back(memory);
  if (middling.owns(memory)) return middling.give_back(memory);
  std::free(memory);
}

}  // namespace

#endif

}  // namespace ernie_image

#if ERNIE_IMAGE_HAS_SPARE_MEMORY

void* operator new(std::size_t size) {
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) memory = ernie_image::spare_of(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void operator delete(void* memory) noexcept { ernie_image::free_allocation(memory); }
void operator delete(void* memory, std::size_t) noexcept { ernie_image::free_allocation(memory); }

#endif
