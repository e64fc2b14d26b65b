// Layers that cannot all be on the card: two buffers, one in use while the next layer is read from
// the file into the other.
#pragma once

#include <array>
#include <future>
#include <memory>

#include "backend/cuda/upload.h"
#include "backend/cuda/weights.h"

namespace ernie_image::cuda {

class LayerStream {
 public:
  explicit LayerStream(Stream& stream) : stream_(stream) {}
  ~LayerStream();
  LayerStream(const LayerStream&) = delete;
  LayerStream& operator=(const LayerStream&) = delete;

  /// Where the layer is, for work that is queued before another layer is used. The next layer of
  /// its network is begun to be read.
  std::byte* use(const std::shared_ptr<WeightGroup>& layer);

  /// Frees the buffers.
  void release();

 private:
  struct Buffer {
    DeviceBlock block;
    std::weak_ptr<WeightGroup> holds;
    std::future<void> filling;
    Event filled;  ///< in the copy queue
    Event idle;    ///< in the compute queue: the last use of what it holds
  };

  Buffer* buffer_of(const std::shared_ptr<WeightGroup>& layer);
  void begin_fill(Buffer& buffer, const std::shared_ptr<WeightGroup>& layer);
  void prefetch_after(const WeightGroup& layer);

  Stream& stream_;
  std::unique_ptr<Queue> copies_;
  std::unique_ptr<Staging> staging_;  // of whichever thread fills a buffer: one at a time
  std::unique_ptr<std::array<Buffer, 2>> buffers_;
  Buffer* current_ = nullptr;
};

}  // namespace ernie_image::cuda
