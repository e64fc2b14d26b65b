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

/// Pages of a mapping to another place, whatever was there before; both lie in huge pages. They
/// are left out where the system refuses: then new ones come when they are touched.
void move_pages(std::byte* from, std::size_t bytes, std::byte* to) {
  constexpr int kFlags = MREMAP_MAYMOVE | MREMAP_FIXED;
  if (mremap(from, bytes, bytes, kFlags, to) != MAP_FAILED) return;
  // A mapping that was put together itself moves only in its parts.
  for (std::size_t at = 0; at < bytes; at += kHugePage) {
    if (mremap(from + at, kHugePage, kHugePage, kFlags, to + at) == MAP_FAILED)
      munmap(from + at, kHugePage);
  }
}

std::byte* allocate_small(std::size_t bytes) {
  void* memory = nullptr;
  return posix_memalign(&memory, kAlignment, bytes) == 0 ? static_cast<std::byte*>(memory)
                                                         : nullptr;
}

}  // namespace

struct CpuMemoryPool::State {
  explicit State(const Ledger* books) {
    if (books != nullptr) ledger = *books;
  }

  std::optional<Ledger> ledger;
  std::mutex mutex;
  std::map<std::size_t, std::vector<std::byte*>> small_blocks;  // free ones, by size class
  std::map<std::byte*, std::size_t> large_blocks;  // free ones by address, no two of them adjacent
  std::size_t free_bytes = 0;                      // in both
  std::size_t used_bytes = 0;
  std::size_t peak_bytes = 0;
  std::size_t peak_held_bytes = 0;

  ~State() { release_cache(); }

  void put_small(std::byte* block, std::size_t bytes) {
    if (ledger) {
      ledger->leave(bytes);
    } else {
      std::free(block);
    }
  }
  /// One of those that were mapped on their own, or a part of it.
  void put_large(std::byte* block, std::size_t bytes) {
    if (ledger) {
      ledger->leave(bytes);
    } else {
      munmap(block, bytes);
    }
  }

  /// A free block, or null.
  std::byte* reuse(std::size_t bytes) {
    return bytes < kLargeBlock ? reuse_small(bytes) : reuse_large(bytes);
  }

  std::byte* reuse_small(std::size_t bytes) {
    std::vector<std::byte*>& blocks = small_blocks[bytes];
    if (blocks.empty()) return nullptr;
    std::byte* const block = blocks.back();
    blocks.pop_back();
    free_bytes -= bytes;
    return block;
  }

  /// The beginning of the smallest that is large enough.
  std::byte* reuse_large(std::size_t bytes) {
    auto best = large_blocks.end();
    for (auto it = large_blocks.begin(); it != large_blocks.end(); ++it) {
      if (it->second >= bytes && (best == large_blocks.end() || it->second < best->second))
        best = it;
    }
    if (best == large_blocks.end()) return nullptr;
    const auto [block, size] = *best;
    large_blocks.erase(best);
    if (size > bytes) large_blocks.emplace(block + bytes, size - bytes);
    free_bytes -= bytes;
    return block;
  }

  void keep(std::byte* block, std::size_t bytes) {
    free_bytes += bytes;
    if (bytes < kLargeBlock) {
      small_blocks[bytes].push_back(block);
      return;
    }
    const auto after = large_blocks.upper_bound(block);
    if (after != large_blocks.end() && after->first == block + bytes) {
      bytes += after->second;
      large_blocks.erase(after);
    }
    const auto next = large_blocks.upper_bound(block);
    const auto before = next == large_blocks.begin() ? large_blocks.end() : std::prev(next);
    if (before != large_blocks.end() && before->first + before->second == block) {
      before->second += bytes;
    } else {
      large_blocks.emplace(block, bytes);
    }
  }

  std::byte* take(std::size_t bytes) {
    const std::lock_guard lock(mutex);
    std::byte* block = reuse(bytes);
    if (block == nullptr) block = make(bytes);
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
      keep(block, bytes);
    } else {
      put_small(block, bytes);
    }
  }

  /// A new block, with the pages of free ones if it is large.
  std::byte* make(std::size_t bytes) {
    const bool is_large = kReuse && bytes >= kLargeBlock;
    std::byte* block = nullptr;
    if (!ledger) {
      block = is_large ? map_large(bytes) : allocate_small(bytes);
      if (block == nullptr) return nullptr;
    }
    if (is_large) fill(block, bytes);
    trim(std::max(peak_bytes, used_bytes + bytes) - used_bytes - bytes);
    if (ledger) return ledger->enter(bytes);
    if (only_touches) std::memset(block, 0, bytes);
    return block;
  }

  /// Free pages as those of a new block, so that the system need not clear others.
  void fill(std::byte* block, std::size_t bytes) {
    for (std::size_t at = 0; at < bytes && !large_blocks.empty();) {
      const auto [piece, size] = cut(bytes - at);
      if (ledger) {
        ledger->leave(size);
      } else {
        move_pages(piece, size, block + at);
      }
      at += size;
    }
  }

  /// Takes the end of the largest free block, `most` bytes of it at most.
  std::pair<std::byte*, std::size_t> cut(std::size_t most) {
    const auto largest =
        std::ranges::max_element(large_blocks, {}, [](const auto& block) { return block.second; });
    auto& [block, size] = *largest;
    const std::size_t bytes = std::min(size, most);
    size -= bytes;
    free_bytes -= bytes;
    const std::pair piece(block + size, bytes);
    if (size == 0) large_blocks.erase(largest);
    return piece;
  }

  /// Gives large free blocks, or their ends, back to the system until `most` bytes are free, small
  /// ones aside: in all they are little, and often needed. Otherwise a run that asks for ever other
  /// sizes would hold far more than it uses at a time.
  void trim(std::size_t most) {
    while (free_bytes > most && !large_blocks.empty()) {
      const std::size_t excess = (free_bytes - most + kHugePage - 1) / kHugePage * kHugePage;
      const auto [block, bytes] = cut(excess);
      put_large(block, bytes);
    }
  }

  void release_cache() {
    release_small_blocks();
    const std::lock_guard lock(mutex);
    trim(0);
#if defined(__GLIBC__)
    if (!ledger) malloc_trim(0);  // the small blocks, which the C library would keep
#endif
  }

  void release_small_blocks() {
    const std::lock_guard lock(mutex);
    for (const auto& [bytes, blocks] : small_blocks) {
      for (std::byte* block : blocks) put_small(block, bytes);
      free_bytes -= bytes * blocks.size();
    }
    small_blocks.clear();
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
void CpuMemoryPool::release_small_blocks() { state_->release_small_blocks(); }

}  // namespace ernie_image
