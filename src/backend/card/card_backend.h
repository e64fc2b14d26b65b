// What backends of cards have in common: everything but the operations.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

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
  std::size_t peak_memory_bytes() const override { return stream_.memory().peak_bytes(); }
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
  void begin_stage(std::uint64_t activation_bytes) override {
    weights_.begin_stage(activation_bytes);
  }
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
  void require_three(const Shape& filters) const {
    if (filters[2] != 3 || filters[3] != 3)
      refuse("conv2d_stride2", "a kernel " + to_string(filters), "one of 3 x 3");
  }

  CardStream stream_;
  WeightStore weights_;
};

}  // namespace ernie_image::card
