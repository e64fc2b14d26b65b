#include "backend/card/stream.h"

#include "ernie_image/error.h"

namespace ernie_image::card {

Stream::Stream(std::shared_ptr<const Device> device)
    : device_(std::move(device)),
      queue_(std::make_shared<Queue>(*device_)),
      memory_(std::make_shared<MemoryPool>(device_, queue_)),
      staging_(std::make_unique<Staging>(*device_)) {}

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

Tensor Stream::upload(const Tensor& host) const {
  begin_call();
  Tensor tensor = empty(host.dtype(), host.shape());
  staging_->copy(tensor.bytes(), host.bytes(), host.size_bytes(), *queue_);
  return tensor;
}

Tensor Stream::download(const Tensor& tensor) const {
  begin_call();
  device_->require_not_recording(queue_->handle(), "a download");
  Tensor host = Tensor::host(tensor.dtype(), tensor.shape());
  if (host.size() == 0) {
    queue_->synchronize();
  } else {
    device_->copy_out(host.bytes(), tensor.bytes(), tensor.size_bytes(), queue_->handle());
  }
  return host;
}

std::string described(const Tensor& tensor) {
  return std::string(dtype_name(tensor.dtype())) + " " + ernie_image::to_string(tensor.shape());
}

double QueueTimer::stop() {
  end_.record(stream_.queue());
  end_.synchronize();
  return end_.seconds_since(begin_);
}

}  // namespace ernie_image::card
