#include "backend/card/layer_stream.h"

#include <exception>

#include "core/start_thread.h"

namespace ernie_image::card {

LayerStream::~LayerStream() {
  try {
    release();
  } catch (const std::exception&) {
    return;  // a broken queue: nothing left to wait for
  }
}

std::byte* LayerStream::use(const std::shared_ptr<WeightGroup>& layer) {
  if (buffers_ == nullptr) buffers_ = std::make_unique<Buffers>(stream_.device());
  Buffer* buffer = buffer_of(layer);
  if (buffer != nullptr && buffer == current_) return buffer->block.data();
  // Everything that uses the layer before has been queued.
  if (current_ != nullptr) current_->idle.record(stream_.queue());
  if (buffer == nullptr) {
    for (Buffer& other : buffers_->all) {
      if (other.filling.valid()) other.filling.get();
    }
    buffer = &idle_buffer();
    begin_fill(*buffer, layer);
  }
  if (buffer->filling.valid()) buffer->filling.get();
  buffer->filled.hold(stream_.queue());
  current_ = buffer;
  prefetch_after(*layer);
  return buffer->block.data();
}

LayerStream::Buffer* LayerStream::buffer_of(const std::shared_ptr<WeightGroup>& layer) {
  for (Buffer& buffer : buffers_->all) {
    if (buffer.holds.lock() == layer) return &buffer;
  }
  return nullptr;
}

LayerStream::Buffer& LayerStream::idle_buffer() {
  return buffers_->all[current_ == &buffers_->all.front() ? 1 : 0];
}

void LayerStream::prefetch_after(const WeightGroup& layer) {
  const auto& layers = layer.chain->layers;
  const auto next = layers[(layer.index + 1) % layers.size()].lock();
  if (next == nullptr || buffer_of(next) != nullptr) return;
  begin_fill(idle_buffer(), next);
}

/// In a thread of its own: reading the file takes as long as the device computes a layer.
void LayerStream::begin_fill(Buffer& buffer, const std::shared_ptr<WeightGroup>& layer) {
  buffer.holds = layer;
  const std::size_t bytes = layer->bytes + layer->scratch_bytes;
  if (buffer.block.bytes() < bytes) {
    buffer.filled.synchronize();  // it may never have been used
    buffer.idle.synchronize();
    buffer.block = DeviceBlock();
    make_room_(bytes);
    buffer.block = DeviceBlock(stream_.device(), bytes);
  }
  if (stream_.device().rehearses()) return;
  buffer.filling = start_task([this, &buffer, layer] {
    stream_.device().bind();
    Queue& copies = buffers_->copies;
    buffer.idle.hold(copies);
    std::byte* const target = buffer.block.data();
    forms_.fill(*layer, target, target + layer->bytes, buffers_->staging, copies);
    buffer.filled.record(copies);
  });
}

void LayerStream::release() {
  if (buffers_ == nullptr) return;
  for (Buffer& buffer : buffers_->all) {
    if (buffer.filling.valid()) buffer.filling.wait();
  }
  stream_.device().bind();
  stream_.queue().synchronize();
  buffers_->copies.synchronize();
  current_ = nullptr;
  buffers_.reset();
}

}  // namespace ernie_image::card
