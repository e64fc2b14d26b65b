#include "backend/card/staging.h"

#include <algorithm>
#include <cstring>
#include <exception>

namespace ernie_image::card {
namespace {

/// Large enough for the bus, small enough that the two are nothing beside a model.
constexpr std::size_t kSlotBytes = std::size_t{16} << 20;

}  // namespace

struct Staging::Slot {
  explicit Slot(const Device& device) : memory(device, kSlotBytes), sent(device) {}
  PinnedBlock memory;
  Event sent;
};

Staging::Staging(const Device& device) : device_(device) {}

Staging::~Staging() {
  for (const auto& slot : slots_) {
    try {
      slot->sent.synchronize();
    } catch (const std::exception&) {
      continue;  // a broken queue reads no more
    }
  }
}

void Staging::copy(std::byte* target, const std::byte* source, std::size_t bytes,
                   const Queue& queue) {
  if (device_.rehearses()) return;
  device_.require_not_recording(queue.handle(), "an upload");
  for (std::size_t done = 0; done < bytes;) {
    if (slots_.size() < 2) slots_.push_back(std::make_unique<Slot>(device_));
    Slot& slot = *slots_[next_++ % slots_.size()];
    slot.sent.synchronize();
    const std::size_t part = std::min(bytes - done, kSlotBytes);
    std::memcpy(slot.memory.data(), source + done, part);
    device_.copy_in(target + done, slot.memory.data(), part, queue.handle());
    slot.sent.record(queue);
    done += part;
  }
}

}  // namespace ernie_image::card
