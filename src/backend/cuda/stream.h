// What operations are put into: a card, its compute queue, its memory.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "backend/cuda/device.h"
#include "backend/cuda/memory.h"
#include "core/tensor.h"
#include "ernie_image/cancel.h"
#include "ernie_image/error.h"

namespace ernie_image::cuda {

class Staging;

/// Thrown where work that cannot be recorded meets a recording: an upload, a wait.
class NotRecordable : public Error {
 public:
  explicit NotRecordable(const std::string& what) : Error(ErrorKind::unsupported, what) {}
};

class Stream {
 public:
  explicit Stream(int device_index);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  const Device& device() const { return *device_; }
  const Queue& queue() const { return *queue_; }
  cudaStream_t get() const { return queue_->get(); }
  MemoryPool& memory() const { return *memory_; }
  Staging& staging() const { return *staging_; }
  std::shared_ptr<const Device> shared_device() const { return device_; }
  std::shared_ptr<const Queue> shared_queue() const { return queue_; }
  std::string name() const { return "cuda:" + std::to_string(device_->index()); }

  void set_cancel_token(std::shared_ptr<const CancelToken> token) { cancel_ = std::move(token); }

  /// Before anything is queued: binds the card, throws Error(cancelled) if that was asked for.
  void begin_call() const;

  /// Uninitialised device memory from the pool.
  Tensor empty(DType dtype, Shape shape) const;

 private:
  std::shared_ptr<Device> device_;
  std::shared_ptr<Queue> queue_;
  std::shared_ptr<MemoryPool> memory_;
  std::unique_ptr<Staging> staging_;
  std::shared_ptr<const CancelToken> cancel_;
};

/// "bf16 [2, 3]" for error messages.
std::string described(const Tensor& tensor);

}  // namespace ernie_image::cuda
