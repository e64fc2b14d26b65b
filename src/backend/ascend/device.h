// A card through AscendCL, and errors that say what was asked of it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "backend/ascend/symbols.h"
#include "backend/card/device.h"

namespace ernie_image::ascend {

/// CANN, initialised for this process. Throws Error(not_found) where there is none. It is never
/// finalised: destructors of statics would run after the libraries' own.
const Cann& initialized_cann();

/// How many cards there are. Throws Error(not_found) without CANN, Error(device) if it cannot tell.
int device_count();

/// "8.1.RC1"; "unknown" where the release does not tell.
std::string cann_version();

/// The name of the chips of this machine, "Ascend910B3".
std::string chip_name();

/// What its name says of a chip.
enum class ChipGeneration {
  first,   ///< Ascend910, 910A, and "Ascend910B" without a digit: no bf16
  second,  ///< Ascend910B1 to B4 (A2), Ascend910_93 (A3): what this backend was written for
  third,   ///< Ascend950, which has no fused inference attention before V5
  other,   ///< unknown
};
ChipGeneration generation_of(const std::string& chip);
/// Of this machine's chips.
ChipGeneration chip_generation();

/// What is not supported there, or works in another way, for people.
std::vector<std::string> notes_on(const std::string& chip);

/// Throws Error(device) with what was attempted, CANN's own message and, for codes that people
/// meet, what to do, unless `status` is 0.
void require(aclError status, const std::string& attempted);

/// Kernels may read past the end of what they are given: every block has this much to spare.
inline constexpr std::size_t kSpareBytes = 32;

/// Cards are never reset, which would take them from other threads that have bound themselves.
class Device : public card::Device {
 public:
  /// Throws Error(not_found) if there is no such card.
  explicit Device(int index);

  void bind() const override;
  bool try_bind() const noexcept override;
  Memory memory() const override;
  void* allocate(std::size_t bytes) const override;
  void free(void* memory) const noexcept override;
  void* allocate_pinned(std::size_t bytes) const override;
  void free_pinned(void* memory) const noexcept override;
  card::Handle make_queue() const override;
  void destroy_queue(card::Handle queue) const noexcept override;
  void wait_for_queue(card::Handle queue) const override;
  void try_wait_for_queue(card::Handle queue) const noexcept override;
  card::Handle make_event(bool timed) const override;
  void destroy_event(card::Handle event) const noexcept override;
  void record_event(card::Handle event, card::Handle queue) const override;
  void hold_queue(card::Handle queue, card::Handle event) const override;
  void wait_for_event(card::Handle event) const override;
  double seconds_between(card::Handle begin, card::Handle end) const override;
  void copy_in(std::byte* target, const std::byte* source, std::size_t bytes,
               card::Handle queue) const override;
  void copy_out(std::byte* target, const std::byte* source, std::size_t bytes,
                card::Handle queue) const override;
};

}  // namespace ernie_image::ascend
