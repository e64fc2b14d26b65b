// A device that has nothing but what every device must have: the operations that do several things
// in one go are hidden, so that their compositions run in their places.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "backend/backend.h"

namespace ernie_image {

class ComposedBackend : public Backend {
 public:
  explicit ComposedBackend(std::unique_ptr<Backend> device) : device_(std::move(device)) {}

  std::string name() const override { return device_->name(); }
  void set_cancel_token(std::shared_ptr<const CancelToken> token) override {
    device_->set_cancel_token(std::move(token));
  }
  std::size_t peak_memory_bytes() const override { return device_->peak_memory_bytes(); }
  void reset_peak_memory() override { device_->reset_peak_memory(); }
  void release_cache() override { device_->release_cache(); }
  std::unique_ptr<Backend> rehearsal(const Ledger& ledger, std::uint64_t room_bytes,
                                     const std::string& offload) const override {
    return std::make_unique<ComposedBackend>(device_->rehearsal(ledger, room_bytes, offload));
  }
  Tensor empty(DType dtype, Shape shape) override {
    return device_->empty(dtype, std::move(shape));
  }
  Tensor upload(const Tensor& host) override { return device_->upload(host); }
  Tensor download(const Tensor& tensor) override { return device_->download(tensor); }
  WeightHandle prepare(const Weight& weight, WeightUse use, Quantization quantization) override {
    return device_->prepare(weight, use, quantization);
  }
  Tensor linear(const Tensor& x, const PreparedWeight& weight,
                const PreparedWeight* bias) override {
    return device_->linear(x, weight, bias);
  }
  Tensor embedding(std::span<const std::int32_t> ids, const PreparedWeight& table,
                   DType dtype) override {
    return device_->embedding(ids, table, dtype);
  }
  Tensor rms_norm(const Tensor& x, const PreparedWeight& weight, float eps) override {
    return device_->rms_norm(x, weight, eps);
  }
  Tensor norm_rope(const Tensor& x, const PreparedWeight* norm_weight, float eps,
                   const RotaryTable& rotary) override {
    return device_->norm_rope(x, norm_weight, eps, rotary);
  }
  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionMask& mask,
                   float scale) override {
    return device_->attention(q, k, v, mask, scale);
  }
  Tensor add(const Tensor& a, const Tensor& b) override { return device_->add(a, b); }
  Tensor multiply(const Tensor& a, const Tensor& b) override { return device_->multiply(a, b); }
  Tensor gelu(const Tensor& x) override { return device_->gelu(x); }
  Tensor silu(const Tensor& x) override { return device_->silu(x); }
  Tensor cast(const Tensor& x, DType dtype) override { return device_->cast(x, dtype); }
  Tensor concat_rows(const Tensor& a, const Tensor& b) override {
    return device_->concat_rows(a, b);
  }
  Tensor slice_rows(const Tensor& x, std::int64_t begin, std::int64_t count) override {
    return device_->slice_rows(x, begin, count);
  }
  void write_rows(Tensor& target, std::int64_t begin, const Tensor& rows) override {
    device_->write_rows(target, begin, rows);
  }
  Tensor transpose_rows(const Tensor& x) override { return device_->transpose_rows(x); }
  Tensor conv2d(const Tensor& x, const PreparedWeight& weight,
                const PreparedWeight& bias) override {
    return device_->conv2d(x, weight, bias);
  }
  Tensor conv2d_stride2(const ImageBand& x, const PreparedWeight& weight,
                        const PreparedWeight& bias) override {
    return device_->conv2d_stride2(x, weight, bias);
  }
  Tensor group_norm(const Tensor& x, const PreparedWeight& weight, const PreparedWeight& bias,
                    int groups, float eps, Activation activation) override {
    return device_->group_norm(x, weight, bias, groups, eps, activation);
  }
  Tensor upsample_nearest2x(const Tensor& x) override { return device_->upsample_nearest2x(x); }

 private:
  std::unique_ptr<Backend> device_;
};

}  // namespace ernie_image
