#include "backend/ascend/derived.h"

#include <algorithm>

namespace ernie_image::ascend {

const Tensor* DerivedTensors::find(const Key& key) {
  const auto found = std::ranges::find_if(entries_, [&](const Entry& entry) {
    return entry.key.use == key.use && entry.key.source.bytes() == key.source.bytes() &&
           entry.key.source.shape() == key.source.shape() && entry.key.dtype == key.dtype &&
           entry.key.shape == key.shape;
  });
  if (found == entries_.end()) return nullptr;
  std::rotate(found, found + 1, entries_.end());
  return &entries_.back().made;
}

Tensor DerivedTensors::keep(const Key& key, Tensor made) {
  if (entries_.size() == kMost) entries_.erase(entries_.begin());
  entries_.push_back({key, std::move(made)});
  return entries_.back().made;
}

}  // namespace ernie_image::ascend
