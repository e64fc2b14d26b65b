// Layers that cannot all be on the card: two buffers, one in use while the next layer is read from
// the file into the other.
#pragma once

#include <array>
#include <functional>
#include <future>
#include <memory>
#include <utility>

#include "backend/card/staging.h"
#include "backend/card/weights.h"

namespace ernie_image::card {

class LayerStream {
 public:
  /// `make_room` lets go of what is kept for later until so many bytes are free, if it can.
  using MakeRoom = std::function<void(std::size_t bytes)>;

  LayerStream(const Stream& stream, const WeightForms& forms, MakeRoom make_room)
      : stream_(stream), forms_(forms), make_room_(std::move(make_room)) {}
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
    explicit Buffer(const Device& device) : filled(device), idle(device) {}
    DeviceBlock block;
    std::weak_ptr<WeightGroup> holds;
    std::future<void> filling;
    Event filled;  ///< in the copy queue
    Event idle;    ///< in the compute queue: the last use of what it holds
  };
  /// While layers are streamed.
  struct Buffers {
    explicit Buffers(const Device& device)
        : copies(device), staging(device), all{Buffer(device), Buffer(device)} {}
    Queue copies;
    Staging staging;  ///< of whichever thread fills a buffer: one at a time
    std::array<Buffer, 2> all;
  };

  Buffer* buffer_of(const std::shared_ptr<WeightGroup>& layer);
  Buffer& idle_buffer();
  void begin_fill(Buffer& buffer, const std::shared_ptr<WeightGroup>& layer);
  void prefetch_after(const WeightGroup& layer);

  const Stream& stream_;
  const WeightForms& forms_;
  MakeRoom make_room_;
  std::unique_ptr<Buffers> buffers_;
  Buffer* current_ = nullptr;
};

}  // namespace ernie_image::card
