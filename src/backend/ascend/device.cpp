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

Queue::Queue() { require(cann().aclrtCreateStream(&stream_), "aclrtCreateStream"); }

Queue::~Queue() {
  cann().aclrtSynchronizeStream(stream_);
  cann().aclrtDestroyStream(stream_);
}

void Queue::synchronize() const {
  require(cann().aclrtSynchronizeStream(stream_), "waiting for the queue");
}

Event::Event() { require(cann().aclrtCreateEvent(&event_), "aclrtCreateEvent"); }

Event::~Event() { cann().aclrtDestroyEvent(event_); }

void Event::record(const Queue& queue) {
  require(cann().aclrtRecordEvent(event_, queue.get()), "aclrtRecordEvent");
  recorded_ = true;
}

void Event::hold(const Queue& queue) const {
  if (recorded_) require(cann().aclrtStreamWaitEvent(queue.get(), event_), "aclrtStreamWaitEvent");
}

void Event::synchronize() const {
  if (recorded_) require(cann().aclrtSynchronizeEvent(event_), "waiting for an event");
}

Device::Device(int index) : index_(index) {
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
  if (bound_device == index_) return;
  require(cann().aclrtSetDevice(index_), "aclrtSetDevice " + std::to_string(index_));
  bound_device = index_;
}

bool Device::try_bind() const noexcept {
  if (bound_device == index_) return true;
  if (cann().aclrtSetDevice(index_) != 0) return false;
  bound_device = index_;
  return true;
}

void Device::count(std::ptrdiff_t bytes) const {
  const std::size_t now = held_ += static_cast<std::size_t>(bytes);
  std::size_t peak = peak_;
  while (now > peak && !peak_.compare_exchange_weak(peak, now)) {
  }
}

std::size_t Device::free_bytes() const {
  std::size_t free = 0;
  std::size_t total = 0;
  require(cann().aclrtGetMemInfo(ACL_HBM_MEM, &free, &total), "aclrtGetMemInfo");
  return free;
}

std::size_t Device::total_bytes() const {
  std::size_t free = 0;
  std::size_t total = 0;
  require(cann().aclrtGetMemInfo(ACL_HBM_MEM, &free, &total), "aclrtGetMemInfo");
  return total;
}

}  // namespace ernie_image::ascend
