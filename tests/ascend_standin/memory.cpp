// Memory of the cards and pinned memory of the host.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "machine_state.h"

namespace standin {
namespace {

constexpr std::size_t kBlockAlignment = 512;
constexpr std::byte kFresh{0xff};  // NaN in every float type

/// The block that holds an address. Locked.
const std::pair<const std::uintptr_t, Block>* block_at(std::uintptr_t address) {
  auto after = machine().blocks.upper_bound(address);
  if (after == machine().blocks.begin()) return nullptr;
  --after;
  return address < after->first + after->second.bytes ? &*after : nullptr;
}

std::string check_side(const char* which, const void* memory, std::size_t bytes, bool device) {
  if (is_device_address(memory) != device)
    return std::string(which) + (device ? " is not device memory" : " is device memory");
  return device ? check_range({address_of(memory), bytes}, 0) : "";
}

/// Nonzero, as a violation, while queued work uses the memory that is to be freed. Locked.
int require_unused(const char* function, const Range& range) {
  const std::string user = machine().order.user_of(range, true);
  if (user.empty()) return 0;
  return report_violation(std::string(function) + " of memory that a queued " + user + " uses");
}

}  // namespace

bool is_device_address(const void* address) {
  const std::byte* const space = machine().space;
  return address >= space && address < space + kAddressSpace;
}

std::string check_range(const Range& range, std::size_t spare) {
  const std::lock_guard lock(machine().mutex);
  const auto* block = block_at(range.begin);
  if (block == nullptr) return "the memory is not allocated";
  if (block->second.device != current_device()) return "the memory is another device's";
  if (range.begin + range.bytes + spare > block->first + block->second.bytes)
    return "the tensor, with 32 bytes after it, reaches past the end of its memory";
  return "";
}

std::byte* real_address(const void* device_address) {
  const std::lock_guard lock(machine().mutex);
  const auto* block = block_at(address_of(device_address));
  if (block == nullptr) std::abort();  // queued work on freed memory: aclrtFree has said so before
  return block->second.real.get() + (address_of(device_address) - block->first);
}

std::byte* real_of(const void* memory) {
  return is_device_address(memory) ? real_address(memory)
                                   : const_cast<std::byte*>(static_cast<const std::byte*>(memory));
}

bool is_pinned(const void* memory, std::size_t bytes) {
  const std::lock_guard lock(machine().mutex);
  auto after = machine().pinned.upper_bound(address_of(memory));
  if (after == machine().pinned.begin()) return false;
  --after;
  return address_of(memory) + bytes <= after->first + after->second;
}

int check_copy(const void* target, std::size_t room, const void* source, std::size_t bytes,
               aclrtMemcpyKind kind) {
  if (kind < ACL_MEMCPY_HOST_TO_DEVICE || kind > ACL_MEMCPY_DEVICE_TO_DEVICE)
    return fail(kInvalidParameter, "copy: neither side is the device");
  if (bytes > room) return fail(kInvalidParameter, "the copy is larger than its target");
  const bool from_device = kind != ACL_MEMCPY_HOST_TO_DEVICE;
  const bool to_device = kind != ACL_MEMCPY_DEVICE_TO_HOST;
  for (const std::string& problem : {check_side("the target", target, bytes, to_device),
                                     check_side("the source", source, bytes, from_device)}) {
    if (!problem.empty()) return fail(kInvalidParameter, "copy: " + problem);
  }
  return 0;
}

}  // namespace standin

using namespace standin;

extern "C" {

aclError aclrtGetMemInfo(aclrtMemAttr kind, std::size_t* free, std::size_t* total) {
  if (const int status = enter("aclrtGetMemInfo")) return status;
  if (kind != ACL_HBM_MEM) return fail(kInvalidParameter, "only HBM is known");
  const std::lock_guard lock(machine().mutex);
  const std::uint64_t capacity = machine().capacity[current_device()];
  *total = capacity;
  *free = capacity - std::min(capacity, machine().in_use[current_device()]);
  return 0;
}

aclError aclrtMalloc(void** memory, std::size_t bytes, aclrtMemMallocPolicy) {
  if (const int status = enter("aclrtMalloc")) return status;
  if (bytes == 0) return fail(kInvalidParameter, "aclrtMalloc of 0 bytes");
  const int device = current_device();
  const std::lock_guard lock(machine().mutex);
  if (machine().in_use[device] + bytes > machine().capacity[device])
    return fail(kOutOfMemory, "aclrtMalloc: the device's memory is full");
  // Addresses are never used again, so that a stale one is always found out.
  const std::uintptr_t address = address_of(machine().space) + machine().next_address;
  machine().next_address += (bytes + 2 * kBlockAlignment - 1) / kBlockAlignment * kBlockAlignment;
  if (machine().next_address > kAddressSpace) std::abort();
  Block block{bytes, device, std::make_unique_for_overwrite<std::byte[]>(bytes)};
  if (!is_idle()) std::memset(block.real.get(), static_cast<int>(kFresh), bytes);
  machine().blocks.emplace(address, std::move(block));
  machine().in_use[device] += bytes;
  machine().peak[device] = std::max(machine().peak[device], machine().in_use[device]);
  *memory = reinterpret_cast<void*>(address);
  return 0;
}

aclError aclrtFree(void* memory) {
  if (const int status = enter("aclrtFree")) return status;
  if (memory == nullptr) return fail(kInvalidParameter, "aclrtFree of null");
  const std::lock_guard lock(machine().mutex);
  const auto found = machine().blocks.find(address_of(memory));
  if (found == machine().blocks.end())
    return report_violation("aclrtFree of what is not a block, or no more");
  if (const int status = require_unused("aclrtFree", {found->first, found->second.bytes}))
    return status;
  machine().in_use[found->second.device] -= found->second.bytes;
  machine().blocks.erase(found);
  return 0;
}

aclError aclrtMallocHost(void** memory, std::size_t bytes) {
  if (const int status = enter("aclrtMallocHost")) return status;
  if (bytes == 0) return fail(kInvalidParameter, "aclrtMallocHost of 0 bytes");
  *memory = std::malloc(bytes);
  const std::lock_guard lock(machine().mutex);
  machine().pinned[address_of(*memory)] = bytes;
  return 0;
}

aclError aclrtFreeHost(void* memory) {
  if (const int status = require_initialized("aclrtFreeHost")) return status;
  const std::lock_guard lock(machine().mutex);
  const auto found = machine().pinned.find(address_of(memory));
  if (found == machine().pinned.end())
    return fail(kInvalidParameter, "aclrtFreeHost of what is not pinned memory");
  if (const int status = require_unused("aclrtFreeHost", {found->first, found->second}))
    return status;
  machine().pinned.erase(found);
  std::free(memory);
  return 0;
}

/// Waits for no queue, as on the card: what has not run yet is not in the copy, and nothing is
/// copied safely into memory that queued work reads.
aclError aclrtMemcpy(void* target, std::size_t room, const void* source, std::size_t bytes,
                     aclrtMemcpyKind kind) {
  if (const int status = enter("aclrtMemcpy")) return status;
  if (const int status = check_copy(target, room, source, bytes, kind)) return status;
  {
    const std::lock_guard lock(machine().mutex);
    for (const auto& [memory, readers] :
         {std::pair<const void*, bool>{target, true}, {source, false}}) {
      const std::string user = machine().order.user_of({address_of(memory), bytes}, readers);
      if (!user.empty())
        report_violation("aclrtMemcpy without waiting for the " + user + " that uses the memory");
    }
  }
  if (!is_idle()) {
    std::memcpy(real_of(target), real_of(source), bytes);
  } else if (!is_device_address(target)) {
    std::memset(real_of(target), 0, bytes);
  }
  return 0;
}

}  // extern "C"
