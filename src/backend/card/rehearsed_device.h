// A card of a rehearsal: hands out addresses as long as its memory would last, and does no work.
#pragma once

#include <algorithm>

#include "backend/card/device.h"
#include "core/ledger.h"

namespace ernie_image::card {

class RehearsedDevice final : public Device {
 public:
  /// In the place of `rehearsed`, of whose memory it has `room_bytes`.
  RehearsedDevice(const Device& rehearsed, const Ledger& ledger, std::size_t room_bytes)
      : Device(rehearsed.kind(), rehearsed.index(), rehearsed.spare_bytes()),
        ledger_(ledger),
        room_bytes_(room_bytes) {}

  bool rehearses() const override { return true; }
  void bind() const override {}
  bool try_bind() const noexcept override { return true; }
  Memory memory() const override {
    return {room_bytes_ - std::min(room_bytes_, held_bytes()), room_bytes_};
  }
  void* allocate(std::size_t bytes) const override {
    return bytes <= free_bytes() ? ledger_.enter(0) : nullptr;
  }
  void free(void* /*memory*/) const noexcept override {}
  void* allocate_pinned(std::size_t /*bytes*/) const override { return nullptr; }
  void free_pinned(void* /*memory*/) const noexcept override {}
  Handle make_queue() const override { return ledger_.enter(0); }
  void destroy_queue(Handle /*queue*/) const noexcept override {}
  void wait_for_queue(Handle /*queue*/) const override {}
  void try_wait_for_queue(Handle /*queue*/) const noexcept override {}
  Handle make_event(bool /*timed*/) const override { return ledger_.enter(0); }
  void destroy_event(Handle /*event*/) const noexcept override {}
  void record_event(Handle /*event*/, Handle /*queue*/) const override {}
  void hold_queue(Handle /*queue*/, Handle /*event*/) const override {}
  void wait_for_event(Handle /*event*/) const override {}
  double seconds_between(Handle /*begin*/, Handle /*end*/) const override { return 0; }
  void copy_in(std::byte* /*target*/, const std::byte* /*source*/, std::size_t /*bytes*/,
               Handle /*queue*/) const override {}
  void copy_out(std::byte* /*target*/, const std::byte* /*source*/, std::size_t /*bytes*/,
                Handle /*queue*/) const override {}

 private:
  mutable Ledger ledger_;
  std::size_t room_bytes_;
};

}  // namespace ernie_image::card
