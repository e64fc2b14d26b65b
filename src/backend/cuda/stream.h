// What operations are put into: a card's queue, as CUDA knows it.
#pragma once

#include <memory>
#include <utility>

#include "backend/card/stream.h"
#include "backend/cuda/device.h"

namespace ernie_image::cuda {

using card::described;

class Stream : public card::Stream {
 public:
  explicit Stream(int device_index) : card::Stream(std::make_shared<Device>(device_index)) {}
  /// Of a rehearsal.
  Stream(std::shared_ptr<const card::Device> device, const Stream&)
      : card::Stream(std::move(device)) {}

  /// From one place on the card to another, in the order of the queue.
  void copy(std::byte* target, const std::byte* source, std::size_t bytes, const char* what) const {
    if (device().rehearses()) return;
    require(cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToDevice, get()), what);
  }

  cudaStream_t get() const { return cuda_stream(queue()); }
};

}  // namespace ernie_image::cuda
