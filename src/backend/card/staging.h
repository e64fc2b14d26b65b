// Copies from the host to the card, through memory that the card reads by itself.
#pragma once

#include <memory>
#include <vector>

#include "backend/card/memory.h"

namespace ernie_image::card {

/// Two pinned buffers, so that one is filled while the other is on its way.
class Staging {
 public:
  explicit Staging(const Device& device);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// Returns when `source` has been read; the copy may still be under way in `queue`.
  void copy(std::byte* target, const std::byte* source, std::size_t bytes, const Queue& queue);

 private:
  struct Slot;
  const Device& device_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::size_t next_ = 0;
};

}  // namespace ernie_image::card
