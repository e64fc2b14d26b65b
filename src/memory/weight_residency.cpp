#include "memory/weight_residency.h"

#include <algorithm>
#include <new>
#include <string>

#include "core/start_thread.h"

namespace ernie_image {
namespace {

// Read at a time: enough for the disk to stream, little enough to stop soon. At 50 MB/s this is
// 0.16 s.
constexpr std::size_t kChunkBytes = std::size_t{8} << 20;

std::vector<FilePart> in_chunks(const std::vector<FilePart>& parts) {
  std::vector<FilePart> chunks;
  for (const FilePart& part : parts) {
    for (std::size_t begin = 0; begin < part.bytes.size(); begin += kChunkBytes) {
      const std::size_t size = std::min(kChunkBytes, part.bytes.size() - begin);
      chunks.push_back({part.file, part.bytes.subspan(begin, size)});
    }
  }
  return chunks;
}

}  // namespace

bool ResidencyPlan::wants(std::int64_t layer, std::int64_t current) const {
  if (layer < resident_layers) return layer == current || layer == current + 1;
  const std::int64_t first = std::max(current, resident_layers);
  return layer >= first && layer < first + window_layers;
}

WeightResidency::WeightResidency(const WeightFiles& files, std::string_view layer_prefix,
                                 const ResidencyPlan& plan)
    : files_(files), plan_(plan) {
  for (std::int64_t i = 0; i < plan.layers; ++i)
    layers_.push_back(
        {files.parts(std::string(layer_prefix) + std::to_string(i) + "."), false, false});
  reader_ = start_thread([this] { read_until_stopped(); });
}

WeightResidency::~WeightResidency() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_one();
  reader_.join();
  files_.release_pages(plan_.done);
}

std::int64_t WeightResidency::next_to_read() const {
  if (current_ < 0) return -1;
  for (std::int64_t i = current_; i < plan_.layers; ++i) {
    if (is_wanted(i) && !layers_[static_cast<std::size_t>(i)].read) return i;
  }
  return -1;
}

void WeightResidency::before_layer(std::int64_t index) {
  if (index >= plan_.layers) return;  // quantised: the file is not read any more
  std::unique_lock lock(mutex_);
  current_ = index;
  // The reader notices at its next chunk. Until then it would map pages of what is let go here; and
  // it begins no other layer before there is room for it.
  is_moving_ = true;
  idle_.wait(lock, [this] { return reading_ < 0 || is_wanted(reading_); });
  release_unwanted();
  is_moving_ = false;
  layers_[static_cast<std::size_t>(index)].touched = true;
  work_.notify_one();
}

void WeightResidency::release_unwanted() {
  for (std::int64_t i = plan_.resident_layers; i < plan_.layers; ++i) {
    Layer& layer = layers_[static_cast<std::size_t>(i)];
    if (!layer.touched || is_wanted(i)) continue;
    for (const FilePart& part : layer.parts) release_pages(part, plan_.streamed);
    layer.touched = layer.read = false;
  }
}

void WeightResidency::read_until_stopped() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return stopping_ || (!is_moving_ && next_to_read() >= 0); });
    if (stopping_) return;
    reading_ = next_to_read();
    Layer& layer = layers_[static_cast<std::size_t>(reading_)];
    layer.touched = layer.read = true;
    lock.unlock();
    try {
      read(layer, reading_);
    } catch (const std::bad_alloc&) {
      // What was not read ahead is read when it is used.
    }
    lock.lock();
    reading_ = -1;
    idle_.notify_one();
  }
}

/// One chunk is on its way from the disk while the one before it is mapped.
void WeightResidency::read(const Layer& layer, std::int64_t index) {
  const std::vector<FilePart> chunks = in_chunks(layer.parts);
  for (std::size_t i = 0; i < chunks.size() && should_go_on(index); ++i) {
    if (i == 0) start_reading(chunks[0]);
    if (i + 1 < chunks.size()) start_reading(chunks[i + 1]);
    map_pages(chunks[i]);
  }
}

bool WeightResidency::should_go_on(std::int64_t layer) {
  const std::lock_guard lock(mutex_);
  return !stopping_ && is_wanted(layer);
}

}  // namespace ernie_image
