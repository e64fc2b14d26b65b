#include "machine.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

namespace standin {
namespace {

constexpr std::size_t kAddressSpace = std::size_t{1} << 40;
constexpr std::size_t kBlockAlignment = 512;
constexpr int kMaxDevices = 8;
constexpr std::byte kFresh{0xff};  // NaN in every float type

struct Block {
  std::size_t bytes;
  int device;
  std::unique_ptr<std::byte[]> real;
};

struct Task {
  std::string name;
  std::vector<Range> uses;
  std::function<void()> work;
};

struct Stream {
  int device = 0;
  std::deque<Task> tasks;  // the front one is running
  bool stop = false;
  std::thread worker;
};

/// Everything, under one lock: a stand-in need not be fast, only right.
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
  std::map<std::string, std::pair<int, int>> faults;  // function -> calls left, code
  std::vector<std::string> violations;
  std::int64_t objects = 0;
  std::uint64_t operations_run = 0;
  std::uint64_t in_use[kMaxDevices] = {};
  std::uint64_t peak[kMaxDevices] = {};
  std::uint64_t capacity[kMaxDevices] = {};
};

int number_from_environment(const char* name, int fallback) {
  const char* value = std::getenv(name);
  return value == nullptr ? fallback : std::atoi(value);
}

Machine& machine() {
  static Machine* const kMachine = [] {
    auto* made = new Machine;  // never destroyed: workers may outlive main
    made->space = static_cast<std::byte*>(mmap(nullptr, kAddressSpace, PROT_NONE,
                                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    for (std::uint64_t& bytes : made->capacity) bytes = std::uint64_t{64} << 30;
    return made;
  }();
  return *kMachine;
}

int device_count() { return number_from_environment("ASCEND_STANDIN_DEVICES", 2); }

thread_local int current_device = -1;
thread_local std::string pending_message;
thread_local std::string read_message;

std::uintptr_t address_of(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

bool overlap(const Range& a, const Range& b) {
  return a.begin < b.begin + b.bytes && b.begin < a.begin + a.bytes;
}

/// The name of queued work that uses the range, or "". Locked.
std::string user_of(const Range& range) {
  for (const auto& stream : machine().streams) {
    for (const Task& task : stream->tasks) {
      for (const Range& used : task.uses) {
        if (overlap(range, used)) return task.name;
      }
    }
  }
  return "";
}

/// The block that holds an address. Locked.
const std::pair<const std::uintptr_t, Block>* block_at(std::uintptr_t address) {
  auto after = machine().blocks.upper_bound(address);
  if (after == machine().blocks.begin()) return nullptr;
  --after;
  return address < after->first + after->second.bytes ? &*after : nullptr;
}

bool is_pinned(const void* memory, std::size_t bytes) {
  const std::lock_guard lock(machine().mutex);
  auto after = machine().pinned.upper_bound(address_of(memory));
  if (after == machine().pinned.begin()) return false;
  --after;
  return address_of(memory) + bytes <= after->first + after->second;
}

std::uint64_t hash_of(const std::byte* data, std::size_t bytes) {
  std::uint64_t hash = 1469598103934665603u;
  for (std::size_t i = 0; i < bytes; ++i)
    hash = (hash ^ static_cast<std::uint64_t>(data[i])) * 1099511628211u;
  return hash;
}

/// Takes tasks in order, now and then after a pause: nothing may rely on work being done soon.
void run_stream(Stream& stream) {
  std::minstd_rand random(static_cast<unsigned>(address_of(&stream) >> 4));
  std::unique_lock lock(machine().mutex);
  while (true) {
    machine().changed.wait(
        lock, [&] { return stream.stop || (!stream.tasks.empty() && !machine().held); });
    if (stream.tasks.empty()) return;
    const std::function<void()> work = stream.tasks.front().work;
    lock.unlock();
    if (random() % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 200));
    work();
    lock.lock();
    stream.tasks.pop_front();
    ++machine().operations_run;
    machine().changed.notify_all();
  }
}

Stream* find_stream(aclrtStream handle) {
  for (const auto& stream : machine().streams) {
    if (stream.get() == handle) return stream.get();
  }
  return nullptr;
}

int drain(aclrtStream handle) {
  std::unique_lock lock(machine().mutex);
  Stream* const stream = find_stream(handle);
  if (stream == nullptr) return fail(kInvalidParameter, "no such stream");
  machine().changed.wait(lock, [&] { return stream->tasks.empty(); });
  if (machine().violations.empty()) return 0;
  return fail(kKernelFault, machine().violations.front());
}

std::string check_side(const char* which, const void* memory, std::size_t bytes, bool device) {
  if (is_device_address(memory) != device)
    return std::string(which) + (device ? " is not device memory" : " is device memory");
  return device ? check_range({address_of(memory), bytes}, 0) : "";
}

int check_copy(const void* target, std::size_t room, const void* source, std::size_t bytes,
               aclrtMemcpyKind kind) {
  if (bytes > room) return fail(kInvalidParameter, "the copy is larger than its target");
  const bool from_device = kind != ACL_MEMCPY_HOST_TO_DEVICE;
  const bool to_device = kind != ACL_MEMCPY_DEVICE_TO_HOST;
  for (const std::string& problem : {check_side("the target", target, bytes, to_device),
                                     check_side("the source", source, bytes, from_device)}) {
    if (!problem.empty()) return fail(kInvalidParameter, "copy: " + problem);
  }
  return 0;
}

std::byte* real_of(const void* memory) {
  return is_device_address(memory) ? real_address(memory)
                                   : const_cast<std::byte*>(static_cast<const std::byte*>(memory));
}

struct Event {
  std::uint64_t recorded = 0;
  std::uint64_t passed = 0;
};

}  // namespace

int fail(int code, const std::string& message) {
  pending_message = "EZ9999: " + message;
  return code;
}

int enter(const char* function) {
  const std::lock_guard lock(machine().mutex);
  if (!machine().initialized) return fail(kUninitialized, "aclInit was not called");
  if (current_device < 0)
    return fail(kNoContext, std::string(function) + ": no device set on this thread");
  const auto fault = machine().faults.find(function);
  if (fault == machine().faults.end() || --fault->second.first > 0) return 0;
  const int code = fault->second.second;
  machine().faults.erase(fault);
  return fail(code, std::string(function) + ": fault ordered by a test");
}

void violation(const std::string& message) {
  const std::lock_guard lock(machine().mutex);
  machine().violations.push_back(message);
}

bool is_device_address(const void* address) {
  const std::byte* const space = machine().space;
  return address >= space && address < space + kAddressSpace;
}

std::string check_range(const Range& range, std::size_t spare) {
  const std::lock_guard lock(machine().mutex);
  const auto* block = block_at(range.begin);
  if (block == nullptr) return "the memory is not allocated";
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

int enqueue(aclrtStream handle, const std::string& name, std::vector<Range> uses,
            std::function<void()> work) {
  const std::lock_guard lock(machine().mutex);
  Stream* const stream = find_stream(handle);
  if (stream == nullptr) return fail(kInvalidParameter, name + ": no such stream");
  if (stream->device != current_device)
    return fail(kNoContext, name + ": the stream belongs to another device");
  stream->tasks.push_back({name, std::move(uses), std::move(work)});
  machine().changed.notify_all();
  return 0;
}

void count_object(int change) {
  const std::lock_guard lock(machine().mutex);
  machine().objects += change;
}

}  // namespace standin

using namespace standin;

extern "C" {

aclError aclInit(const char*) {
  const std::lock_guard lock(machine().mutex);
  if (machine().initialized) return fail(kRepeatInitialize, "aclInit was called before");
  machine().initialized = true;
  return 0;
}

const char* aclGetRecentErrMsg() {
  read_message = std::exchange(pending_message, "");
  return read_message.empty() ? nullptr : read_message.c_str();
}

const char* aclrtGetSocName() { return "Ascend910B-standin"; }

aclError aclrtGetDeviceCount(std::uint32_t* count) {
  *count = static_cast<std::uint32_t>(standin::device_count());
  return 0;
}

aclError aclrtSetDevice(std::int32_t device) {
  {
    const std::lock_guard lock(machine().mutex);
    if (!machine().initialized) return fail(kUninitialized, "aclInit was not called");
  }
  if (device < 0 || device >= standin::device_count())
    return fail(kInvalidParameter, "aclrtSetDevice: no such device");
  current_device = device;
  return 0;
}

aclError aclrtResetDevice(std::int32_t) { return 0; }

aclError aclrtGetMemInfo(aclrtMemAttr kind, std::size_t* free, std::size_t* total) {
  if (const int status = enter("aclrtGetMemInfo")) return status;
  if (kind != ACL_HBM_MEM) return fail(kInvalidParameter, "only HBM is known");
  const std::lock_guard lock(machine().mutex);
  const std::uint64_t capacity = machine().capacity[current_device];
  *total = capacity;
  *free = capacity - std::min(capacity, machine().in_use[current_device]);
  return 0;
}

aclError aclrtCreateStream(aclrtStream* stream) {
  if (const int status = enter("aclrtCreateStream")) return status;
  const std::lock_guard lock(machine().mutex);
  auto made = std::make_unique<Stream>();
  made->device = current_device;
  Stream& reference = *made;
  made->worker = std::thread([&reference] { run_stream(reference); });
  *stream = made.get();
  machine().streams.push_back(std::move(made));
  return 0;
}

aclError aclrtDestroyStream(aclrtStream handle) {
  std::unique_lock lock(machine().mutex);
  Stream* const stream = find_stream(handle);
  if (stream == nullptr) return fail(kInvalidParameter, "no such stream");
  if (!stream->tasks.empty())
    machine().violations.push_back("a stream was destroyed before its " +
                                   stream->tasks.back().name + " ran");
  stream->stop = true;
  machine().changed.notify_all();
  std::thread worker = std::move(stream->worker);
  lock.unlock();
  worker.join();
  lock.lock();
  std::erase_if(machine().streams, [&](const auto& known) { return known.get() == stream; });
  return 0;
}

aclError aclrtSynchronizeStream(aclrtStream stream) {
  if (const int status = enter("aclrtSynchronizeStream")) return status;
  return drain(stream);
}

aclError aclrtCreateEvent(aclrtEvent* event) {
  if (const int status = enter("aclrtCreateEvent")) return status;
  *event = new std::shared_ptr<Event>(std::make_shared<Event>());
  count_object(1);
  return 0;
}

aclError aclrtDestroyEvent(aclrtEvent event) {
  delete static_cast<std::shared_ptr<Event>*>(event);
  count_object(-1);
  return 0;
}

aclError aclrtRecordEvent(aclrtEvent handle, aclrtStream stream) {
  if (const int status = enter("aclrtRecordEvent")) return status;
  const auto event = *static_cast<std::shared_ptr<Event>*>(handle);
  std::uint64_t mark = 0;
  {
    const std::lock_guard lock(machine().mutex);
    mark = ++event->recorded;
  }
  return enqueue(stream, "aclrtRecordEvent", {}, [event, mark] {
    const std::lock_guard lock(machine().mutex);
    event->passed = mark;
    machine().changed.notify_all();
  });
}

aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent handle) {
  if (const int status = enter("aclrtStreamWaitEvent")) return status;
  const auto event = *static_cast<std::shared_ptr<Event>*>(handle);
  std::uint64_t mark = 0;
  {
    const std::lock_guard lock(machine().mutex);
    mark = event->recorded;
  }
  return enqueue(stream, "aclrtStreamWaitEvent", {}, [event, mark] {
    std::unique_lock lock(machine().mutex);
    machine().changed.wait(lock, [&] { return event->passed >= mark; });
  });
}

aclError aclrtSynchronizeEvent(aclrtEvent handle) {
  if (const int status = enter("aclrtSynchronizeEvent")) return status;
  const auto event = *static_cast<std::shared_ptr<Event>*>(handle);
  std::unique_lock lock(machine().mutex);
  machine().changed.wait(lock, [&] { return event->passed >= event->recorded; });
  return 0;
}

aclError aclrtMalloc(void** memory, std::size_t bytes, aclrtMemMallocPolicy) {
  if (const int status = enter("aclrtMalloc")) return status;
  if (bytes == 0) return fail(kInvalidParameter, "aclrtMalloc of 0 bytes");
  const std::lock_guard lock(machine().mutex);
  if (machine().in_use[current_device] + bytes > machine().capacity[current_device])
    return fail(kOutOfMemory, "aclrtMalloc: the device's memory is full");
  const std::uintptr_t address = address_of(machine().space) + machine().next_address;
  // Addresses are never used again, so that a stale one is always found out.
  machine().next_address += (bytes + 2 * kBlockAlignment - 1) / kBlockAlignment * kBlockAlignment;
  Block block{bytes, current_device, std::make_unique<std::byte[]>(bytes)};
  std::memset(block.real.get(), static_cast<int>(kFresh), bytes);
  machine().blocks.emplace(address, std::move(block));
  machine().in_use[current_device] += bytes;
  machine().peak[current_device] =
      std::max(machine().peak[current_device], machine().in_use[current_device]);
  *memory = reinterpret_cast<void*>(address);
  return 0;
}

aclError aclrtFree(void* memory) {
  if (const int status = enter("aclrtFree")) return status;
  if (memory == nullptr) return fail(kInvalidParameter, "aclrtFree of null");
  const std::lock_guard lock(machine().mutex);
  const auto found = machine().blocks.find(address_of(memory));
  if (found == machine().blocks.end()) {
    machine().violations.push_back("aclrtFree of what is not a block, or no more");
    return fail(kInvalidParameter, machine().violations.back());
  }
  const std::string user = user_of({found->first, found->second.bytes});
  if (!user.empty()) {
    machine().violations.push_back("aclrtFree of memory that a queued " + user + " uses");
    return fail(kInvalidParameter, machine().violations.back());
  }
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
  const std::lock_guard lock(machine().mutex);
  const auto found = machine().pinned.find(address_of(memory));
  if (found == machine().pinned.end())
    return fail(kInvalidParameter, "aclrtFreeHost of what is not pinned memory");
  const std::string user = user_of({found->first, found->second});
  if (!user.empty()) {
    machine().violations.push_back("aclrtFreeHost of memory that a queued " + user + " uses");
    return fail(kInvalidParameter, machine().violations.back());
  }
  machine().pinned.erase(found);
  std::free(memory);
  return 0;
}

/// Waits for no queue, as on the card: what has not run yet is not in the copy.
aclError aclrtMemcpy(void* target, std::size_t room, const void* source, std::size_t bytes,
                     aclrtMemcpyKind kind) {
  if (const int status = enter("aclrtMemcpy")) return status;
  if (const int status = check_copy(target, room, source, bytes, kind)) return status;
  std::memcpy(real_of(target), real_of(source), bytes);
  return 0;
}

aclError aclrtMemcpyAsync(void* target, std::size_t room, const void* source, std::size_t bytes,
                          aclrtMemcpyKind kind, aclrtStream stream) {
  if (const int status = enter("aclrtMemcpyAsync")) return status;
  if (const int status = check_copy(target, room, source, bytes, kind)) return status;
  std::vector<Range> uses = {{address_of(target), bytes}, {address_of(source), bytes}};
  const bool from_host = !is_device_address(source);
  const std::uint64_t hash = from_host ? hash_of(real_of(source), bytes) : 0;
  const int status = enqueue(stream, "copy", std::move(uses), [=] {
    if (from_host && hash_of(real_of(source), bytes) != hash)
      violation("a pinned buffer was changed before its queued copy ran");
    std::memcpy(real_of(target), real_of(source), bytes);
  });
  const void* const host = from_host ? source : target;
  // With ordinary host memory the call comes back when the copy is done.
  if (status == 0 && !is_device_address(host) && !is_pinned(host, bytes)) return drain(stream);
  return status;
}

void standin_books(int device, StandinBooks* books) {
  const std::lock_guard lock(machine().mutex);
  std::uint64_t blocks = 0;
  for (const auto& [address, block] : machine().blocks) blocks += block.device == device ? 1 : 0;
  *books = {machine().in_use[device],   machine().peak[device], blocks,
            machine().pinned.size(),    machine().objects,      machine().operations_run,
            machine().violations.size()};
}

void standin_reset_peak(int device) {
  const std::lock_guard lock(machine().mutex);
  machine().peak[device] = machine().in_use[device];
}

void standin_set_capacity(int device, std::uint64_t bytes) {
  const std::lock_guard lock(machine().mutex);
  machine().capacity[device] = bytes;
}

void standin_fail(const char* function, int nth, int code) {
  const std::lock_guard lock(machine().mutex);
  machine().faults[function] = {nth, code};
}

const char* standin_first_violation() {
  const std::lock_guard lock(machine().mutex);
  return machine().violations.empty() ? "" : machine().violations.front().c_str();
}

void standin_forget_violations() {
  const std::lock_guard lock(machine().mutex);
  machine().violations.clear();
}

void standin_hold(int held) {
  const std::lock_guard lock(machine().mutex);
  machine().held = held != 0;
  machine().changed.notify_all();
}

}  // extern "C"
