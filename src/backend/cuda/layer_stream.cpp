#include "backend/cuda/layer_stream.h"

#include <algorithm>

namespace ernie_image::cuda {

LayerStream::~LayerStream() {
  try {
    release();
  } catch (const std::exception&) {
    return;  // a broken queue: nothing left to wait for
  }
}

std::byte* LayerStream::use(const std::shared_ptr<WeightGroup>& layer) {
  if (buffers_ == nullptr) {
    copies_ = std::make_unique<Queue>();
    staging_ = std::make_unique<Staging>();
    buffers_ = std::make_unique<std::array<Buffer, 2>>();
  }
  Buffer* buffer = buffer_of(layer);
  if (buffer != nullptr && buffer == current_) return buffer->block.data();
  // Everything that uses the layer before has been queued.
  if (current_ != nullptr) current_->idle.record(stream_.queue());
  if (buffer == nullptr) {
    for (Buffer& other : *buffers_) {
      if (other.filling.valid()) other.filling.get();
    }
    buffer = current_ == &buffers_->front() ? &buffers_->back() : &buffers_->front();
    begin_fill(*buffer, layer);
  }
  if (buffer->filling.valid()) buffer->filling.get();
  buffer->filled.hold(stream_.queue());
  current_ = buffer;
  prefetch_after(*layer);
  return buffer->block.data();
}

LayerStream::Buffer* LayerStream::buffer_of(const std::shared_ptr<WeightGroup>& layer) {
  const auto found = std::ranges::find_if(
      *buffers_, [&](const Buffer& buffer) { return buffer.holds.lock() == layer; });
  return found == buffers_->end() ? nullptr : &*found;
}

void LayerStream::prefetch_after(const WeightGroup& layer) {
  const auto& layers = layer.chain->layers;
  const auto next = layers[(layer.index + 1) % layers.size()].lock();
  if (next == nullptr || buffer_of(next) != nullptr) return;
  begin_fill(current_ == &buffers_->front() ? buffers_->back() : buffers_->front(), next);
}

/// In a thread of its own: reading the file takes as long as the device computes a layer.
void LayerStream::begin_fill(Buffer& buffer, const std::shared_ptr<WeightGroup>& layer) {
  buffer.holds = layer;
  const std::size_t bytes = layer->bytes + layer->scratch_bytes;
  if (buffer.block.bytes() < bytes) {
    buffer.filled.synchronize();  // it may never have been used
    buffer.idle.synchronize();
    buffer.block = DeviceBlock();
    buffer.block = DeviceBlock(stream_.device(), bytes);
  }
  buffer.filling = std::async(std::launch::async, [this, &buffer, layer] {
    stream_.device().bind();
    buffer.idle.hold(*copies_);
    std::byte* const target = buffer.block.data();
    fill(*layer, target, target + layer->bytes, *staging_, *copies_);
    buffer.filled.record(*copies_);
  });
}

void LayerStream::release() {
  if (buffers_ == nullptr) return;
  for (Buffer& buffer : *buffers_) {
    if (buffer.filling.valid()) buffer.filling.wait();
  }
  stream_.device().bind();
  stream_.queue().synchronize();
  copies_->synchronize();
  current_ = nullptr;
  buffers_.reset();
  staging_.reset();
  copies_.reset();
}

}  // namespace ernie_image::cuda
