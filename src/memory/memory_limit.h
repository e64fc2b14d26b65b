// How much memory there is for this process.
#pragma once

#include <cstdint>

namespace ernie_image {

/// Memory this process can still get: MemAvailable, cut to what the cgroup leaves. Pages of mapped
/// files count as free in both.
std::uint64_t available_memory_bytes();

/// What this process can hold in all before the system is short of memory: some is left for page
/// tables, for pages in flight, and for others.
std::uint64_t system_memory_limit();

/// `asked`, unless the system has less; 0: not asked.
std::uint64_t total_memory_limit(std::uint64_t asked);

}  // namespace ernie_image
