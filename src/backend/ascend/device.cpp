#include "backend/ascend/device.h"

#include <mutex>

#include "ernie_image/error.h"

namespace ernie_image::ascend {

namespace {

thread_local int bound_device = -1;

}  // namespace

const Cann& initialized_cann() {
  const Cann& api = cann();
  if (!api.problem.empty()) throw Error(ErrorKind::not_found, "ascend: " + api.problem);
  static const aclError status = api.aclInit(nullptr);
  if (status != kAclRepeatInitialize) require(status, "aclInit");
  return api;
}

int device_count() {
  if (!cann().problem.empty()) return 0;
  std::uint32_t count = 0;
  return initialized_cann().aclrtGetDeviceCount(&count) == 0 ? static_cast<int>(count) : 0;
}

void require(aclError status, const std::string& attempted) {
  if (status == 0) return;
  // The message belongs to this thread and is gone once read.
  const char* const detail = cann().aclGetRecentErrMsg();
  throw Error(ErrorKind::device, "ascend: " + attempted + " failed with " + std::to_string(status) +
                                     ": " + (detail == nullptr ? "no further message" : detail));
}

Device::Device(int index) : card::Device("ascend", index, kSpareBytes) {
  const Cann& api = initialized_cann();
  const int count = device_count();
  if (index < 0 || index >= count) {
    throw Error(ErrorKind::not_found, "there is no device ascend:" + std::to_string(index) +
                                          "; this machine has " + std::to_string(count));
  }
  require(api.aclrtSetDevice(index), "aclrtSetDevice " + std::to_string(index));
  bound_device = index;
}

/// Cheap for the thread that did it last: several cards may be served by one thread.
void Device::bind() const {
  if (bound_device == index()) return;
  require(cann().aclrtSetDevice(index()), "aclrtSetDevice " + std::to_string(index()));
  bound_device = index();
}

bool Device::try_bind() const noexcept {
  if (bound_device == index()) return true;
  if (cann().aclrtSetDevice(index()) != 0) return false;
  bound_device = index();
  return true;
}

Device::Memory Device::memory() const {
  Memory memory{};
  require(cann().aclrtGetMemInfo(ACL_HBM_MEM, &memory.free_bytes, &memory.total_bytes),
          "aclrtGetMemInfo");
  return memory;
}

void* Device::allocate(std::size_t bytes) const {
  void* memory = nullptr;
  const aclError status = cann().aclrtMalloc(&memory, bytes, ACL_MEM_MALLOC_HUGE_FIRST);
  return status == 0 ? memory : nullptr;
}

void Device::free(void* memory) const noexcept {
  if (try_bind()) cann().aclrtFree(memory);
}

void* Device::allocate_pinned(std::size_t bytes) const {
  void* memory = nullptr;
  require(cann().aclrtMallocHost(&memory, bytes),
          "aclrtMallocHost of " + std::to_string(bytes) + " bytes");
  return memory;
}

void Device::free_pinned(void* memory) const noexcept { cann().aclrtFreeHost(memory); }

card::Handle Device::make_queue() const {
  aclrtStream queue = nullptr;
  require(cann().aclrtCreateStream(&queue), "aclrtCreateStream");
  return queue;
}

void Device::destroy_queue(card::Handle queue) const noexcept {
  try_wait_for_queue(queue);
  cann().aclrtDestroyStream(queue);
}

void Device::wait_for_queue(card::Handle queue) const {
  require(cann().aclrtSynchronizeStream(queue), "waiting for the queue");
}

void Device::try_wait_for_queue(card::Handle queue) const noexcept {
  if (try_bind()) cann().aclrtSynchronizeStream(queue);
}

/// All of CANN's events know their time.
card::Handle Device::make_event(bool /*timed*/) const {
  aclrtEvent event = nullptr;
  require(cann().aclrtCreateEvent(&event), "aclrtCreateEvent");
  return event;
}

void Device::destroy_event(card::Handle event) const noexcept { cann().aclrtDestroyEvent(event); }

void Device::record_event(card::Handle event, card::Handle queue) const {
  require(cann().aclrtRecordEvent(event, queue), "aclrtRecordEvent");
}

void Device::hold_queue(card::Handle queue, card::Handle event) const {
  require(cann().aclrtStreamWaitEvent(queue, event), "aclrtStreamWaitEvent");
}

void Device::wait_for_event(card::Handle event) const {
  require(cann().aclrtSynchronizeEvent(event), "waiting for an event");
}

double Device::seconds_between(card::Handle begin, card::Handle end) const {
  float milliseconds = 0;
  require(cann().aclrtEventElapsedTime(&milliseconds, begin, end), "aclrtEventElapsedTime");
  return double{milliseconds} / 1000;
}

void Device::copy_in(std::byte* target, const std::byte* source, std::size_t bytes,
                     card::Handle queue) const {
  require(cann().aclrtMemcpyAsync(target, bytes, source, bytes, ACL_MEMCPY_HOST_TO_DEVICE, queue),
          "copying " + std::to_string(bytes) + " bytes to the device");
}

void Device::copy_out(std::byte* target, const std::byte* source, std::size_t bytes,
                      card::Handle queue) const {
  wait_for_queue(queue);  // aclrtMemcpy does not
  require(cann().aclrtMemcpy(target, bytes, source, bytes, ACL_MEMCPY_DEVICE_TO_HOST),
          "copying " + std::to_string(bytes) + " bytes from the device");
}

}  // namespace ernie_image::ascend
