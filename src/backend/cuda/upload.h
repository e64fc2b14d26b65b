// Tensors across the border, in the order of the queue.
#pragma once

#include <memory>
#include <vector>

#include "backend/cuda/stream.h"

namespace ernie_image::cuda {

/// Throws NotRecordable, which names `what`, if the queue is being recorded.
void require_not_recording(const Queue& queue, const char* what);

/// Copies from the host to the card: two pinned buffers, so that one is filled while the other is
/// on its way.
class Staging {
 public:
  Staging();
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// Returns when `source` has been read; the copy may still be under way in `queue`. Throws
  /// NotRecordable if the queue is being recorded.
  void copy(std::byte* target, const std::byte* source, std::size_t bytes, const Queue& queue);

 private:
  struct Slot;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::size_t next_ = 0;
};

/// A copy of a host tensor in the card's memory.
Tensor upload(const Stream& stream, const Tensor& host);

/// Waits for the queue.
Tensor download(const Stream& stream, const Tensor& tensor);

}  // namespace ernie_image::cuda
