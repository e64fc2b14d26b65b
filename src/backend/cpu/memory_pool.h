// The memory of activations and scratch buffers: freed blocks are kept and used again.
#pragma once

#include <cstddef>
#include <memory>

namespace ernie_image {

class Ledger;

/// Blocks are grouped in size classes an eighth apart; large ones are put together from pages that
/// are free: the system clears every page that it gives, which took a fifth of a VAE's time. Used
/// and free ones together take no more than the used ones did at their peak, small ones aside. Safe
/// to free from any thread; a block may outlive its pool.
class CpuMemoryPool {
 public:
  /// With a ledger, what would be taken from the system is entered there instead.
  explicit CpuMemoryPool(const Ledger* ledger = nullptr);

  /// At least `bytes` uninitialised bytes, aligned to 64; the last owner gives them back to the
  /// pool. Throws Error(out_of_memory).
  std::shared_ptr<std::byte> allocate(std::size_t bytes);

  /// `count` floats of scratch memory.
  std::shared_ptr<float> allocate_floats(std::int64_t count);

  /// What is taken from the system now and at most, free blocks included: a ledger's figures.
  std::size_t held_bytes() const;
  std::size_t peak_held_bytes() const;

  /// The most bytes in use at a time since the last reset.
  std::size_t peak_bytes() const;
  void reset_peak();

  /// Gives free blocks back to the system.
  void release_cache();
  /// Those that serve only requests of their own size.
  void release_small_blocks();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace ernie_image
