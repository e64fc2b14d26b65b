#include "backend/cpu/memory_pool.h"

#include <malloc.h>  // malloc_trim
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "backend/cpu/measuring.h"
#include "core/ledger.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kLargestRequest = std::size_t{1} << 46;  // what an address space can hold

// Blocks from here on are mapped on their own, in huge pages where the system has them.
constexpr std::size_t kLargeBlock = 2 * kHugePage;

// Under AddressSanitizer every block is exactly as large as asked for and never used twice, so
// that a kernel that strays by one element is found.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kReuse = false;
#else
constexpr bool kReuse = true;
#endif

/// Rounded up to one of eight steps between powers of two.
std::size_t size_class(std::size_t bytes) {
  if (!kReuse) return std::max<std::size_t>(bytes, 1);
  const std::size_t step =
      std::max(kAlignment, std::bit_floor(std::max<std::size_t>(bytes, 1)) / 8);
  const std::size_t rounded = (std::max<std::size_t>(bytes, 1) + step - 1) / step * step;
  return rounded < kLargeBlock ? rounded : (rounded + kHugePage - 1) / kHugePage * kHugePage;
}

/// Huge pages need an aligned address: more is mapped, and both ends are given back.
std::byte* map_large(std::size_t bytes) {
  void* mapping = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  std::byte* start = static_cast<std::byte*>(mapping);
  const std::size_t head =
      (kHugePage - reinterpret_cast<std::uintptr_t>(start) % kHugePage) % kHugePage;
  if (head != 0) munmap(start, head);
  if (head != kHugePage) munmap(start + head + bytes, kHugePage - head);
  madvise(start + head, bytes, MADV_HUGEPAGE);
  return start + head;
}

std::byte* system_allocate(std::size_t bytes) {
  if (kReuse && bytes >= kLargeBlock) return map_large(bytes);
  void* memory = nullptr;
  return posix_memalign(&memory, kAlignment, bytes) == 0 ? static_cast<std::byte*>(memory)
                                                         : nullptr;
}

void system_free(std::byte* block, std::size_t bytes) {
  if (kReuse && bytes >= kLargeBlock) {
    munmap(block, bytes);
  } else {
    std::free(block);
  }
}

}  // namespace

struct CpuMemoryPool::State {
  explicit State(const Ledger* books) {
    if (books != nullptr) ledger = *books;
  }

  std::optional<Ledger> ledger;
  std::mutex mutex;
  std::map<std::size_t, std::vector<std::byte*>> free_blocks;  // by size class
  std::size_t free_bytes = 0;                                  // in free_blocks
  std::size_t used_bytes = 0;
  std::size_t peak_bytes = 0;
  std::size_t peak_held_bytes = 0;

  ~State() { release_cache(); }

  std::byte* get(std::size_t bytes) {
    if (ledger) return ledger->enter(bytes);
    std::byte* const block = system_allocate(bytes);
    if (only_touches && block != nullptr) std::memset(block, 0, bytes);
    return block;
  }
  void put(std::byte* block, std::size_t bytes) {
    if (ledger) {
      ledger->leave(bytes);
    } else {
      system_free(block, bytes);
    }
  }

  std::byte* take(std::size_t bytes) {
    const std::lock_guard lock(mutex);
    std::byte* block = nullptr;
    std::vector<std::byte*>& blocks = free_blocks[bytes];
    if (!blocks.empty()) {
      block = blocks.back();
      blocks.pop_back();
      free_bytes -= bytes;
    } else {
      trim(std::max(peak_bytes, used_bytes + bytes) - used_bytes - bytes);
      block = get(bytes);
    }
    if (block == nullptr) return nullptr;
    used_bytes += bytes;
    peak_bytes = std::max(peak_bytes, used_bytes);
    peak_held_bytes = std::max(peak_held_bytes, used_bytes + free_bytes);
    return block;
  }

  void give_back(std::byte* block, std::size_t bytes) {
    const std::lock_guard lock(mutex);
    used_bytes -= bytes;
    if (kReuse) {
      free_blocks[bytes].push_back(block);
      free_bytes += bytes;
    } else {
      put(block, bytes);
    }
  }

  /// Gives free blocks back to the system, the largest first, until `most` bytes of them are left.
  /// Otherwise a run that asks for ever other sizes would hold far more than it uses at a time.
  void trim(std::size_t most) {
    for (auto entry = free_blocks.rbegin(); entry != free_blocks.rend(); ++entry) {
      auto& [bytes, blocks] = *entry;
      if (bytes < kLargeBlock) return;  // in all they are little, and often needed
      for (; free_bytes > most && !blocks.empty(); blocks.pop_back()) {
        put(blocks.back(), bytes);
        free_bytes -= bytes;
      }
    }
  }

  void release_cache() {
    const std::lock_guard lock(mutex);
    free_bytes = 0;
    for (const auto& [bytes, blocks] : free_blocks) {
      for (std::byte* block : blocks) put(block, bytes);
    }
    free_blocks.clear();
#if defined(__GLIBC__)
    if (!ledger) malloc_trim(0);  // the small blocks, which the C library would keep
#endif
  }
};

CpuMemoryPool::CpuMemoryPool(const Ledger* ledger) : state_(std::make_shared<State>(ledger)) {}

std::shared_ptr<std::byte> CpuMemoryPool::allocate(std::size_t bytes) {
  std::byte* block = nullptr;
  const std::size_t rounded = bytes <= kLargestRequest ? size_class(bytes) : 0;
  if (rounded != 0) {
    block = state_->take(rounded);
    if (block == nullptr) {
      state_->release_cache();
      block = state_->take(rounded);
    }
  }
  if (block == nullptr) {
    throw Error(ErrorKind::out_of_memory,
                "cannot allocate " + std::to_string(bytes) +
                    " bytes for activations; a smaller image or fewer at once need less");
  }
  return {block, [state = state_, rounded](std::byte* p) { state->give_back(p, rounded); }};
}

std::shared_ptr<float> CpuMemoryPool::allocate_floats(std::int64_t count) {
  const std::shared_ptr<std::byte> block =
      allocate(static_cast<std::size_t>(count) * sizeof(float));
  return {block, reinterpret_cast<float*>(block.get())};
}

std::size_t CpuMemoryPool::peak_bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->peak_bytes;
}

std::size_t CpuMemoryPool::held_bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->used_bytes + state_->free_bytes;
}

std::size_t CpuMemoryPool::peak_held_bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->peak_held_bytes;
}

void CpuMemoryPool::reset_peak() {
  const std::lock_guard lock(state_->mutex);
  state_->peak_bytes = state_->used_bytes;
  state_->peak_held_bytes = state_->used_bytes + state_->free_bytes;
}

void CpuMemoryPool::release_cache() { state_->release_cache(); }

}  // namespace ernie_image
