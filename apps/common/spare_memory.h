// What the program has in reserve for small allocations when the system gives no more memory.
//
// The destructor of nlohmann::json moves the members of arrays and objects into a vector. It
// allocates, therefore, and since it must not throw the process ends where that fails: in the
// answer to whichever request comes when memory is short. So allocations by `new` of up to 4 KiB, a
// value of 256 members, are served from memory that was set aside, kSpareBytes in all, where
// `malloc` fails; larger ones throw std::bad_alloc as ever. Larger values come from parsing alone,
// and are taken apart member by member (io/json.h).
//
// The bound: a process still ends so if its small allocations, while memory is short, hold more
// than kSpareBytes. From half of that on the server takes no more requests.
//
// Not in builds with sanitizers, which have allocators of their own.
#pragma once

#include <cstddef>

namespace ernie_image {

inline constexpr std::size_t kLargestSpare = 4 << 10;  ///< of one allocation, bytes
inline constexpr std::size_t kSpareBytes = 6 << 20;    ///< not resident before it is used

/// Whether more than half of one kind is in use. From any thread.
bool spare_memory_is_low() noexcept;

}  // namespace ernie_image
