// What backends of cards have in common: everything but linear layers, attention, convolutions and
// the forms of weights.
#pragma once

#include <cassert>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backend/card/rehearsed_device.h"
#include "backend/card/weights.h"
#include "backend/gelu.h"
#include "ernie_image/error.h"

namespace ernie_image::card {

/// `Operations` has the card's functions: each the operation of backend.h of the same name, of its
/// `Stream` (a card::Stream that knows more of its card) and of tensors on the card, weights among
/// them; `copy` from a tensor into another. What comes here is checked and brought to the card.
template <typename Operations>
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

  Tensor embedding(std::span<const std::int32_t> ids, const PreparedWeight& table,
                   DType dtype) override {
    return upload(embedding_rows(ids, table, dtype));
  }

  // ---- norms and element-wise --------------------------------------------------------------

  Tensor rms_norm(const Tensor& x, const PreparedWeight& weight, float eps) override {
    require_activation("rms_norm", x);
    return Operations::rms_norm(stream_, x, weights_.tensor(weight), eps);
  }
  Tensor rms_norm_modulate(const Tensor& x, const PreparedWeight& weight, float eps, Chunk scale,
                           Chunk shift) override {
    require_activation("rms_norm_modulate", x);
    return Operations::rms_norm_modulate(stream_, x, weights_.tensor(weight), eps, scale, shift);
  }
  Tensor layer_norm_modulate(const Tensor& x, float eps, Chunk scale, Chunk shift) override {
    require_activation("layer_norm_modulate", x);
    return Operations::layer_norm_modulate(stream_, x, eps, scale, shift);
  }
  Tensor norm_rope(const Tensor& x, const PreparedWeight* norm_weight, float eps,
                   const RotaryTable& rotary) override {
    require_activation("norm_rope", x);
    const Tensor weight = norm_weight == nullptr ? Tensor() : weights_.tensor(*norm_weight);
    return Operations::norm_rope(stream_, x, weight, eps, rotary);
  }
  Tensor gelu_mul(const Tensor& gate, const Tensor& up) override {
    require_activation("gelu_mul", gate);
    return gelu_ == GeluForm::tanh ? Operations::gelu_tanh_mul(stream_, gate, up)
                                   : Operations::gelu_mul(stream_, gate, up);
  }
  Tensor silu_mul(const Tensor& gate, const Tensor& up) override {
    require_activation("silu_mul", gate);
    return Operations::silu_mul(stream_, gate, up);
  }
  Tensor gated_add(const Tensor& x, Chunk gate, const Tensor& y) override {
    require_activation("gated_add", x);
    return Operations::gated_add(stream_, x, gate, y);
  }
  Tensor add(const Tensor& a, const Tensor& b) override {
    require_activation("add", a);
    return Operations::add(stream_, a, b);
  }
  Tensor multiply(const Tensor& a, const Tensor& b) override {
    require_activation("multiply", a);
    return Operations::multiply(stream_, a, b);
  }
  Tensor gelu(const Tensor& x) override {
    require_activation("gelu", x);
    return gelu_ == GeluForm::tanh ? Operations::gelu_tanh(stream_, x)
                                   : Operations::gelu(stream_, x);
  }
  Tensor silu(const Tensor& x) override {
    require_activation("silu", x);
    return Operations::silu(stream_, x);
  }
  Tensor cast(const Tensor& x, DType dtype) override {
    require_activation("cast", x);
    return Operations::cast(stream_, x, dtype);
  }

  // ---- layout ------------------------------------------------------------------------------

  Tensor concat_rows(const Tensor& a, const Tensor& b) override {
    return Operations::concat_rows(stream_, a, b);
  }
  Tensor slice_rows(const Tensor& x, std::int64_t begin, std::int64_t count) override {
    return Operations::slice_rows(stream_, x, begin, count);
  }
  void write_rows(Tensor& target, std::int64_t begin, const Tensor& rows) override {
    assert(target.dtype() == rows.dtype());
    Operations::copy(stream_, rows, target.slice(begin, rows.dim(0)));
  }
  Tensor transpose_rows(const Tensor& x) override {
    require_activation("transpose_rows", x);
    return Operations::transpose_rows(stream_, x);
  }

  // ---- images ------------------------------------------------------------------------------

  Tensor group_norm(const Tensor& x, const PreparedWeight& weight, const PreparedWeight& bias,
                    int groups, float eps, Activation activation) override {
    require_activation("group_norm", x);
    const Tensor offsets = weights_.tensor(bias);
    return Operations::group_norm(stream_, x, weights_.tensor(weight), offsets, groups, eps,
                                  activation);
  }
  Tensor upsample_nearest2x(const Tensor& x) override {
    require_activation("upsample_nearest2x", x);
    return Operations::upsample_nearest2x(stream_, x);
  }

 protected:
  CardBackend(int device, const std::string& offload, const std::string& gelu,
              const WeightForms& forms)
      : gelu_(gelu_form(gelu)), stream_(device), weights_(stream_, offload_mode(offload), forms) {}

  /// Of a rehearsal in the place of `rehearsed`.
  CardBackend(const CardBackend& rehearsed, const Ledger& ledger, std::uint64_t room_bytes,
              const std::string& offload, const WeightForms& forms)
      : gelu_(rehearsed.gelu_),
        ledger_(ledger),
        host_rehearsal_(std::in_place, *ledger_),
        stream_(std::make_shared<RehearsedDevice>(rehearsed.stream_.device(), ledger, room_bytes),
                rehearsed.stream_),
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
  void require_three(const Shape& filters) const {
    if (filters[2] != 3 || filters[3] != 3)
      refuse("conv2d_stride2", "a kernel " + to_string(filters), "one of 3 x 3");
  }

  GeluForm gelu_;
  std::optional<Ledger> ledger_;  // of a rehearsal
  /// Of this library's own host tensors: those of the program are booked by whoever rehearses.
  std::optional<HostRehearsal> host_rehearsal_;
  typename Operations::Stream stream_;
  WeightStore weights_;
};

}  // namespace ernie_image::card
