#include "backend/cuda/stream.h"

#include "backend/cuda/upload.h"

namespace ernie_image::cuda {

Stream::Stream(int device_index)
    : device_(std::make_shared<Device>(device_index)),
      queue_(std::make_shared<Queue>()),
      memory_(std::make_shared<MemoryPool>(device_, queue_)),
      staging_(std::make_unique<Staging>()) {}

Stream::~Stream() {
  cudaSetDevice(device_->index());
  cudaStreamSynchronize(queue_->get());
}

void Stream::begin_call() const {
  if (cancel_ != nullptr) cancel_->throw_if_requested();
  device_->bind();
}

Tensor Stream::empty(DType dtype, Shape shape) const {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(num_elements(shape), size_of(dtype), &bytes)) {
    throw Error(ErrorKind::out_of_memory, name() + ": a tensor " + ernie_image::to_string(shape) +
                                              " is larger than any memory");
  }
  std::shared_ptr<std::byte> block = memory_->allocate(bytes);
  std::byte* const data = block.get();
  return {dtype, std::move(shape), data, std::move(block)};
}

std::string described(const Tensor& tensor) {
  return std::string(dtype_name(tensor.dtype())) + " " + ernie_image::to_string(tensor.shape());
}

}  // namespace ernie_image::cuda
