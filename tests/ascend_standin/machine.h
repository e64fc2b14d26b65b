// The machine behind the stand-in: cards, their memory, queues that run later on threads of their
// own, and the rules that a real card enforces or punishes. Shared by the three libraries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "backend/ascend/acl_types.h"

namespace standin {

using namespace ernie_image::ascend;

// Codes as CANN has them; 507xxx are what a broken queue reports when it is waited for.
inline constexpr int kInvalidParameter = 107000;
inline constexpr int kUninitialized = 100001;
inline constexpr int kRepeatInitialize = 100002;
inline constexpr int kNoContext = 107002;
inline constexpr int kOutOfMemory = 207001;
inline constexpr int kKernelFault = 507015;
inline constexpr int kNullPointer = 161001;
inline constexpr int kRefused = 161002;
inline constexpr int kTilingRefused = 561002;
inline constexpr int kNoKernel = 561003;
inline constexpr int kExecutorMisuse = 561102;

/// Bytes of the card (by its address) or of host memory.
struct Range {
  std::uintptr_t begin;
  std::size_t bytes;
  bool written = false;
};
bool overlap(const Range& a, const Range& b);

/// Sets this thread's message, and gives back `code`.
int fail(int code, const std::string& message);

/// Nonzero, with a message, before aclInit and after aclFinalize.
int require_initialized(const char* function);

/// The same, also without aclrtSetDevice on this thread, or because a test ordered this call to
/// fail.
int enter(const char* function);

/// The one that this thread has set.
int current_device();

/// Something wrong that the card would not report to the caller: remembered, and reported by every
/// queue from now on.
void violation(const std::string& message);

bool is_device_address(const void* address);

/// $ASCEND_STANDIN_IDLE=1: nothing is computed or copied, and no memory touched, so that the books
/// of large runs are kept quickly.
bool is_idle();
/// The block that holds all of the range, with 32 bytes to spare after it; else an error text.
std::string check_range(const Range& range, std::size_t spare);
/// Where the bytes of a device address really are. Empty message if they may be touched.
std::byte* real_address(const void* device_address);

/// Puts work into a queue. `uses` is all it will touch, and must stay as it is until it ran. On the
/// card's clock it takes 10 us for each kernel: always the same, whatever this machine does.
int enqueue(aclrtStream stream, const std::string& name, std::vector<Range> uses,
            std::function<void()> work, std::uint64_t kernels = 0);

/// What an operation makes a card run: its own kernel, and what nobody asked for by name.
struct Kernels {
  std::uint64_t copies = 0;  ///< of a strided tensor to or from a dense one
  std::uint64_t casts = 0;   ///< of an operand or a result to another type
};
void count_launch(const Kernels& hidden);
/// Bytes that leave a card for others.
void count_exchanged(std::uint64_t bytes);
/// $ASCEND_STANDIN_DEVICES, else two.
int device_count();

/// $ASCEND_STANDIN_CHIP, else a 910B3: what the chip lacks is refused.
const std::string& chip_name();

/// For leak checks: objects alive, by kind ("tensor", "executor").
void count_object(const char* kind, int change);

}  // namespace standin

/// What tests ask the stand-in: resolved by name in libascendcl.so, like everything else.
extern "C" {
struct StandinBooks {
  std::uint64_t bytes_in_use;
  std::uint64_t peak_bytes;
  std::uint64_t blocks;
  std::uint64_t pinned_blocks;
  std::int64_t objects;
  std::uint64_t operations_run;
  std::uint64_t violations;
  std::uint64_t launches;       ///< operations called
  std::uint64_t hidden_copies;  ///< kernels that these took beside
  std::uint64_t hidden_casts;
  std::uint64_t exchanged_bytes;  ///< that left any card for another
};
void standin_books(int device, StandinBooks* books);
void standin_reset_peak(int device);
void standin_set_capacity(int device, std::uint64_t bytes);
/// The nth call from now on of `function` gives `code`. For operations: aclnn<Name> or its phase 1.
void standin_fail(const char* function, int nth, int code);
/// Text of the first violation, or "".
const char* standin_first_violation();
void standin_forget_violations();
/// Holds all queues (1) or lets them go (0): what was queued then waits for certain.
void standin_hold(int held);
}
