// What backends of cards have in common: everything but the operations.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backend/card/rehearsed_device.h"
#include "backend/card/weights.h"
#include "ernie_image/error.h"

namespace ernie_image::card {

/// `CardStream` is a card::Stream that knows more of its card.
template <typename CardStream>
class CardBackend : public Backend {
 public:
  std::string name() const override { return stream_.name(); }
  void set_cancel_token(std::shared_ptr<const CancelToken> token) override {
    stream_.set_cancel_token(std::move(token));
  }
  std::size_t peak_memory_bytes() const override { return stream_.memory().peak_held_bytes(); }
  void reset_peak_memory() override {
    stream_.memory().reset_peak();
    stream_.device().reset_peak();
  }
  std::optional<DeviceMemory> device_memory() const override {
    const Device& device = stream_.device();
    device.bind();
    const Device::Memory now = device.memory();
    return DeviceMemory{now.free_bytes, now.total_bytes, device.held_bytes(), device.peak_bytes()};
  }
  void release_cache() override { stream_.memory().release_cache(); }
  void begin_stage(const StageRoom& room) override { weights_.begin_stage(room); }
  void end_stage() override { weights_.end_stage(); }
  std::unique_ptr<Timer> make_timer() override { return std::make_unique<QueueTimer>(stream_); }

  Tensor empty(DType dtype, Shape shape) override { return stream_.empty(dtype, std::move(shape)); }
  Tensor upload(const Tensor& host) override { return stream_.upload(host); }
  Tensor download(const Tensor& tensor) override { return stream_.download(tensor); }

  std::vector<Tensor> linear_together(
      const Tensor& x, std::initializer_list<const PreparedWeight*> weights) override {
    std::vector<Tensor> results;
    for (const PreparedWeight* weight : weights) results.push_back(linear(x, *weight, nullptr));
    return results;
  }
  Tensor embedding(std::span<const std::int32_t> ids, const PreparedWeight& table,
                   DType dtype) override {
    return upload(embedding_rows(ids, table, dtype));
  }

 protected:
  CardBackend(int device, const std::string& offload, const WeightForms& forms)
      : stream_(device), weights_(stream_, offload_mode(offload), forms) {}

  /// Of a rehearsal in the place of `rehearsed`.
  CardBackend(const CardBackend& rehearsed, const Ledger& ledger, std::uint64_t room_bytes,
              const std::string& offload, const WeightForms& forms)
      : ledger_(ledger),
        host_rehearsal_(std::in_place, *ledger_),
        stream_(std::make_shared<RehearsedDevice>(rehearsed.stream_.device(), ledger, room_bytes)),
        weights_(stream_, offload.empty() ? rehearsed.weights_.offload() : offload_mode(offload),
                 forms) {}

  [[noreturn]] void refuse(const std::string& operation, const std::string& found,
                           const std::string& expected) const {
    throw Error(ErrorKind::unsupported,
                name() + ": " + operation + " of " + found + "; expected " + expected);
  }
  void require_activation(const char* operation, const Tensor& x) const {
    if (x.dtype() != DType::f32 && x.dtype() != DType::bf16)
      refuse(operation, described(x), "F32 or BF16");
  }
  /// [C_out, C_in, kh, kw]
  void require_square(const Shape& filters) const {
    if (filters[2] != filters[3] || (filters[2] != 1 && filters[2] != 3))
      refuse("conv2d", "a kernel " + to_string(filters), "a square one of 1 or 3");
  }

  std::optional<Ledger> ledger_;  // of a rehearsal
  /// Of this library's own host tensors: those of the program are booked by whoever rehearses.
  std::optional<HostRehearsal> host_rehearsal_;
  CardStream stream_;
  WeightStore weights_;
};

}  // namespace ernie_image::card
