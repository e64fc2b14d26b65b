#include "backend/card/device.h"

namespace ernie_image::card {

void Device::count(std::ptrdiff_t bytes) const {
  const std::size_t now = held_ += static_cast<std::size_t>(bytes);
  std::size_t peak = peak_;
  while (now > peak && !peak_.compare_exchange_weak(peak, now)) {
  }
}

void Event::record(const Queue& queue) {
  device_.record_event(handle_, queue.handle());
  recorded_ = true;
}

void Event::hold(const Queue& queue) const {
  if (recorded_) device_.hold_queue(queue.handle(), handle_);
}

void Event::synchronize() const {
  if (recorded_) device_.wait_for_event(handle_);
}

double Event::seconds_since(const Event& begin) const {
  return device_.seconds_between(begin.handle_, handle_);
}

}  // namespace ernie_image::card
