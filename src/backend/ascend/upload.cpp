#include "backend/ascend/upload.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace ernie_image::ascend {
namespace {

/// Large enough for the bus, small enough that the two are nothing beside a model.
constexpr std::size_t kSlotBytes = std::size_t{16} << 20;

}  // namespace

struct Staging::Slot {
  explicit Slot(std::size_t size) : memory(size), bytes(size) {}
  PinnedBlock memory;
  std::size_t bytes;
  Event sent;
};

Staging::Staging() = default;
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
  for (std::size_t done = 0; done < bytes;) {
    if (slots_.size() < 2) slots_.push_back(std::make_unique<Slot>(kSlotBytes));
    Slot& slot = *slots_[next_++ % slots_.size()];
    slot.sent.synchronize();
    const std::size_t part = std::min(bytes - done, slot.bytes);
    std::memcpy(slot.memory.data(), source + done, part);
    require(cann().aclrtMemcpyAsync(target + done, part, slot.memory.data(), part,
                                    ACL_MEMCPY_HOST_TO_DEVICE, queue.get()),
            "copying " + std::to_string(part) + " bytes to the device");
    slot.sent.record(queue);
    done += part;
  }
}

Tensor upload(Stream& stream, const Tensor& host) {
  stream.device().bind();
  Tensor tensor = stream.empty(host.dtype(), host.shape());
  stream.staging().copy(tensor.bytes(), host.bytes(), host.size_bytes(), stream.queue());
  return tensor;
}

Tensor download(Stream& stream, const Tensor& tensor) {
  stream.device().bind();
  Tensor host = Tensor::host(tensor.dtype(), tensor.shape());
  stream.queue().synchronize();  // aclrtMemcpy does not
  if (host.size() == 0) return host;
  require(cann().aclrtMemcpy(host.bytes(), host.size_bytes(), tensor.bytes(), tensor.size_bytes(),
                             ACL_MEMCPY_DEVICE_TO_HOST),
          "copying " + std::to_string(tensor.size_bytes()) + " bytes from the device");
  return host;
}

}  // namespace ernie_image::ascend
