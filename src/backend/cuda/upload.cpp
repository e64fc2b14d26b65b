#include "backend/cuda/upload.h"

#include <algorithm>
#include <cstring>

namespace ernie_image::cuda {
namespace {

/// Large enough for the bus, small enough that the two are nothing beside a model.
constexpr std::size_t kSlotBytes = std::size_t{16} << 20;

}  // namespace

void require_not_recording(const Queue& queue, const char* what) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  require(cudaStreamIsCapturing(queue.get(), &status), "cudaStreamIsCapturing");
  if (status != cudaStreamCaptureStatusNone)
    throw NotRecordable(std::string("cuda: ") + what + " cannot be part of a recorded step");
}

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
  require_not_recording(queue, "an upload");
  for (std::size_t done = 0; done < bytes;) {
    if (slots_.size() < 2) slots_.push_back(std::make_unique<Slot>(kSlotBytes));
    Slot& slot = *slots_[next_++ % slots_.size()];
    slot.sent.synchronize();
    const std::size_t part = std::min(bytes - done, slot.bytes);
    std::memcpy(slot.memory.data(), source + done, part);
    require(cudaMemcpyAsync(target + done, slot.memory.data(), part, cudaMemcpyHostToDevice,
                            queue.get()),
            "copying " + std::to_string(part) + " bytes to the device");
    slot.sent.record(queue);
    done += part;
  }
}

Tensor upload(const Stream& stream, const Tensor& host) {
  stream.begin_call();
  Tensor tensor = stream.empty(host.dtype(), host.shape());
  stream.staging().copy(tensor.bytes(), host.bytes(), host.size_bytes(), stream.queue());
  return tensor;
}

Tensor download(const Stream& stream, const Tensor& tensor) {
  stream.begin_call();
  require_not_recording(stream.queue(), "a download");
  Tensor host = Tensor::host(tensor.dtype(), tensor.shape());
  if (host.size() != 0) {
    require(cudaMemcpyAsync(host.bytes(), tensor.bytes(), tensor.size_bytes(),
                            cudaMemcpyDeviceToHost, stream.get()),
            "copying " + std::to_string(tensor.size_bytes()) + " bytes from the device");
  }
  stream.queue().synchronize();
  return host;
}

}  // namespace ernie_image::cuda
