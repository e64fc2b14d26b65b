// Starting and ending, devices, errors, and what tests may ask and order.
#include "machine.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "machine_state.h"

namespace standin {
namespace {

thread_local int device_of_thread = -1;
thread_local std::string pending_message;
thread_local std::string read_message;

/// What a program forgot, or "". Locked.
std::string leftovers() {
  std::string text;
  const auto add = [&](const std::string& kind, std::size_t count) {
    if (count > 0) text.append(" ").append(std::to_string(count)).append(" ").append(kind);
  };
  add("block", machine().blocks.size());
  add("pinned", machine().pinned.size());
  add("stream", machine().streams.size());
  for (const auto& [kind, count] : machine().objects) add(kind, static_cast<std::size_t>(count));
  return text;
}

}  // namespace

int device_count() {
  const char* const value = std::getenv("ASCEND_STANDIN_DEVICES");
  return value == nullptr ? 2 : std::min(std::atoi(value), kMaxDevices);
}

bool is_idle() {
  static const bool kIdle = std::getenv("ASCEND_STANDIN_IDLE") != nullptr;
  return kIdle;
}

Machine& machine() {
  static Machine* const kMachine = [] {
    auto* made = new Machine;  // never destroyed: workers may outlive main
    made->space = static_cast<std::byte*>(mmap(nullptr, kAddressSpace, PROT_NONE,
                                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (made->space == MAP_FAILED) std::abort();
    for (std::uint64_t& bytes : made->capacity) bytes = std::uint64_t{64} << 30;
    // ASCEND_STANDIN_FAULT=FUNCTION:CODE: its first call fails.
    if (const char* fault = std::getenv("ASCEND_STANDIN_FAULT")) {
      const std::string text = fault;
      const std::size_t colon = text.find(':');
      made->faults[text.substr(0, colon)] = {1, std::stoi(text.substr(colon + 1))};
    }
    return made;
  }();
  return *kMachine;
}

int fail(int code, const std::string& message) {
  pending_message = "EZ9999: " + message;
  return code;
}

int require_initialized(const char* function) {
  const std::lock_guard lock(machine().mutex);
  if (machine().initialized) return 0;
  return fail(kUninitialized, std::string(function) + ": aclInit was not called");
}

namespace {

/// The fault that was ordered for this call, or 0. Locked.
int ordered_fault(const char* function) {
  const auto fault = machine().faults.find(function);
  if (fault == machine().faults.end() || --fault->second.first > 0) return 0;
  const int code = fault->second.second;
  machine().faults.erase(fault);
  return fail(code, std::string(function) + ": fault ordered by a test");
}

}  // namespace

int enter(const char* function) {
  if (const int status = require_initialized(function)) return status;
  const std::lock_guard lock(machine().mutex);
  if (device_of_thread < 0)
    return fail(kNoContext, std::string(function) + ": no device set on this thread");
  return ordered_fault(function);
}

int current_device() { return device_of_thread; }

int report_violation(const std::string& message) {
  machine().violations.push_back(message);
  return fail(kInvalidParameter, message);
}

void violation(const std::string& message) {
  const std::lock_guard lock(machine().mutex);
  report_violation(message);
}

const std::string& chip_name() {
  static const std::string kName = [] {
    const char* const name = std::getenv("ASCEND_STANDIN_CHIP");
    return std::string(name == nullptr ? "Ascend910B3-standin" : name);
  }();
  return kName;
}

void count_launch(const Kernels& hidden) {
  const std::lock_guard lock(machine().mutex);
  ++machine().launches;
  machine().hidden.copies += hidden.copies;
  machine().hidden.casts += hidden.casts;
}

void count_exchanged(std::uint64_t bytes) {
  const std::lock_guard lock(machine().mutex);
  machine().exchanged += bytes;
}

void count_object(const char* kind, int change) {
  const std::lock_guard lock(machine().mutex);
  machine().objects[kind] += change;
}

}  // namespace standin

using namespace standin;

extern "C" {

aclError aclInit(const char*) {
  const std::lock_guard lock(machine().mutex);
  if (const int status = ordered_fault("aclInit")) return status;
  if (machine().initialized) return fail(kRepeatInitialize, "aclInit was called before");
  machine().initialized = true;
  return 0;
}

/// Refused while anything is left: a program that ends tidily leaves nothing.
aclError aclFinalize() {
  if (const int status = require_initialized("aclFinalize")) return status;
  const std::lock_guard lock(machine().mutex);
  const std::string left = leftovers();
  if (!left.empty()) return fail(kInvalidParameter, "aclFinalize: there is left:" + left);
  machine().initialized = false;
  return 0;
}

const char* aclGetRecentErrMsg() {
  read_message = std::exchange(pending_message, "");
  return read_message.empty() ? nullptr : read_message.c_str();
}

const char* aclrtGetSocName() {
  return require_initialized("aclrtGetSocName") != 0 ? nullptr : chip_name().c_str();
}

aclError aclsysGetCANNVersion(aclCANNPackageName, aclCANNPackageVersion* version) {
  if (const int status = require_initialized("aclsysGetCANNVersion")) return status;
  *version = {};
  std::strncpy(version->version, "8.1.standin", sizeof(version->version) - 1);
  return 0;
}

aclError aclrtGetDeviceCount(std::uint32_t* count) {
  if (const int status = require_initialized("aclrtGetDeviceCount")) return status;
  const std::lock_guard lock(machine().mutex);
  if (const int status = ordered_fault("aclrtGetDeviceCount")) return status;
  *count = static_cast<std::uint32_t>(standin::device_count());
  return 0;
}

aclError aclrtSetDevice(std::int32_t device) {
  if (const int status = require_initialized("aclrtSetDevice")) return status;
  {
    const std::lock_guard lock(machine().mutex);
    if (const int status = ordered_fault("aclrtSetDevice")) return status;
  }
  if (device < 0 || device >= standin::device_count())
    return fail(kInvalidParameter, "aclrtSetDevice: no such device");
  device_of_thread = device;
  return 0;
}

aclError aclrtResetDevice(std::int32_t) { return require_initialized("aclrtResetDevice"); }

void standin_books(int device, StandinBooks* books) {
  const std::lock_guard lock(machine().mutex);
  std::uint64_t blocks = 0;
  for (const auto& [address, block] : machine().blocks) blocks += block.device == device ? 1 : 0;
  std::int64_t objects = 0;
  for (const auto& [kind, count] : machine().objects) objects += count;
  *books = {machine().in_use[device],
            machine().peak[device],
            blocks,
            machine().pinned.size(),
            objects,
            machine().operations_run,
            machine().violations.size(),
            machine().launches,
            machine().hidden.copies,
            machine().hidden.casts,
            machine().exchanged};
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
