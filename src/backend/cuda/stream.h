// What operations are put into: a card's queue, as CUDA knows it.
#pragma once

#include <memory>

#include "backend/card/stream.h"
#include "backend/cuda/device.h"

namespace ernie_image::cuda {

using card::described;

class Stream : public card::Stream {
 public:
  explicit Stream(int device_index) : card::Stream(std::make_shared<Device>(device_index)) {}

  cudaStream_t get() const { return cuda_stream(queue()); }
};

}  // namespace ernie_image::cuda
