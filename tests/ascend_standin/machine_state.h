// The inside of libascendcl's stand-in, shared by its files. Everything is under one lock: a
// stand-in need not be fast, only right.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "machine.h"
#include "order.h"

namespace standin {

inline constexpr std::size_t kAddressSpace = std::size_t{1} << 38;
inline constexpr int kMaxDevices = 8;
inline constexpr std::uint64_t kNanosecondsOfAKernel = 10000;

struct Block {
  std::size_t bytes;
  int device;
  std::unique_ptr<std::byte[]> real;
};

struct Stream {
  int device = 0;
  int id = 0;                                                       // in the order of queued work
  std::deque<std::pair<std::string, std::function<void()>>> tasks;  // the front one is running
  std::uint64_t nanoseconds = 0;  // on its clock, when all of that is done
  bool stop = false;
  std::thread worker;
};

struct Machine {
  std::mutex mutex;
  std::condition_variable changed;
  bool initialized = false;
  bool held = false;
  std::byte* space = nullptr;  // addresses without memory: touching one is a crash
  std::size_t next_address = 0;
  std::map<std::uintptr_t, Block> blocks;
  std::map<std::uintptr_t, std::size_t> pinned;
  std::vector<std::unique_ptr<Stream>> streams;
  Order order;
  std::map<std::string, std::pair<int, int>> faults;  // function -> calls left, code
  std::vector<std::string> violations;
  std::map<std::string, std::int64_t> objects;
  std::uint64_t operations_run = 0;
  std::uint64_t launches = 0;
  Kernels hidden;
  std::uint64_t exchanged = 0;
  std::uint64_t in_use[kMaxDevices] = {};
  std::uint64_t peak[kMaxDevices] = {};
  std::uint64_t capacity[kMaxDevices] = {};
};

Machine& machine();

inline std::uintptr_t address_of(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

/// Reported by every queue from now on, and as the result of this call. Locked.
int report_violation(const std::string& message);

/// Nonzero, with a message, unless both sides are what `kind` says and large enough.
int check_copy(const void* target, std::size_t room, const void* source, std::size_t bytes,
               aclrtMemcpyKind kind);
/// Where the bytes of a host or device address really are.
std::byte* real_of(const void* memory);
bool is_pinned(const void* memory, std::size_t bytes);

}  // namespace standin
