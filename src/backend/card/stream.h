// What operations are put into: a card, its compute queue, its memory.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "backend/backend.h"
#include "backend/card/memory.h"
#include "backend/card/staging.h"
#include "core/tensor.h"
#include "ernie_image/cancel.h"

namespace ernie_image::card {

class Stream {
 public:
  explicit Stream(std::shared_ptr<const Device> device);
  ~Stream() { queue_->try_synchronize(); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  const Device& device() const { return *device_; }
  const Queue& queue() const { return *queue_; }
  MemoryPool& memory() const { return *memory_; }
  Staging& staging() const { return *staging_; }
  std::shared_ptr<const Device> shared_device() const { return device_; }
  std::shared_ptr<const Queue> shared_queue() const { return queue_; }
  std::string name() const { return device_->name(); }

  void set_cancel_token(std::shared_ptr<const CancelToken> token) { cancel_ = std::move(token); }

  /// Before anything is queued: binds the card, throws Error(cancelled) if that was asked for.
  void begin_call() const;

  /// Uninitialised device memory from the pool.
  Tensor empty(DType dtype, Shape shape) const;
  /// A copy of a host tensor in the card's memory.
  Tensor upload(const Tensor& host) const;
  /// Waits for the queue.
  Tensor download(const Tensor& tensor) const;

 private:
  std::shared_ptr<const Device> device_;
  std::shared_ptr<const Queue> queue_;
  std::shared_ptr<MemoryPool> memory_;
  std::unique_ptr<Staging> staging_;
  std::shared_ptr<const CancelToken> cancel_;
};

/// "BF16 [2, 3]" for error messages.
std::string described(const Tensor& tensor);

/// Two marks in the queue, which the card itself times.
class QueueTimer : public Backend::Timer {
 public:
  explicit QueueTimer(const Stream& stream)
      : stream_(stream), begin_(stream.device(), true), end_(stream.device(), true) {}
  void start() override { begin_.record(stream_.queue()); }
  double stop() override;

 private:
  const Stream& stream_;
  Event begin_, end_;
};

}  // namespace ernie_image::card
