// Numbers without pattern for weights and activations: no sum overflows, no product is trivial.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/half.h"
#include "core/weight.h"
#include "io/gguf_encode.h"

namespace ernie_image {

class Noise {
 public:
  /// -0.5 to 0.5
  float next() {
    state_ = state_ * 1664525u + 1013904223u;
    return static_cast<float>(state_ >> 8) * 0x1p-24f - 0.5f;
  }

 private:
  std::uint32_t state_ = 1;
};

/// -scale to scale, rounded to `dtype`.
inline Tensor random_values(DType dtype, Shape shape, float scale = 0.03f) {
  Tensor tensor = Tensor::host(DType::f32, std::move(shape));
  Noise noise;
  for (float& value : tensor.span<float>()) value = 2 * scale * noise.next();
  return round_to(tensor, dtype);
}

/// bf16 weights of any name and shape, or matrices in a type of GGUF. Distinct: none shares memory
/// with another, since a weight that is still in a cache would make a processor look faster than it
/// is. Else all are the same memory, which a card copies for each.
class RandomWeights final : public WeightSource {
 public:
  explicit RandomWeights(bool distinct) : distinct_(distinct) {}

  /// Null: bf16 again.
  void encode_as(const GgufType* type) {
    type_ = type;
    values_ = std::make_shared<Tensor>(Tensor::host(DType::bf16, {0}));
  }
  std::string type_name() const { return type_ == nullptr ? "bf16" : std::string(type_->name); }
  double bytes_of_weight() const {
    return type_ == nullptr
               ? 2
               : static_cast<double>(type_->bytes) / static_cast<double>(type_->weights);
  }

  bool contains(std::string_view) const override { return true; }
  Weight get(const std::string& name, const Shape& shape) override {
    if (type_ != nullptr && shape.size() == 2 && shape[1] % type_->weights == 0)
      return encoded(name, shape);
    if (distinct_ || num_elements(shape) > values_->size()) {
      values_ = std::make_shared<Tensor>(Tensor::host(DType::bf16, shape));
      for (std::uint16_t& value : values_->span<std::uint16_t>())
        value = float_to_bf16(0.06f * noise_.next());
    }
    return {name, DType::bf16, shape, values_->bytes(), values_};
  }
  void require_complete() const override {}
  std::vector<std::string> unused() const override { return {}; }
  void release_pages() const override {}

 private:
  Weight encoded(const std::string& name, const Shape& shape) {
    const std::int64_t elements = num_elements(shape);
    const std::int64_t bytes = elements / type_->weights * type_->bytes;
    if (distinct_ || bytes > values_->size()) {
      values_ = std::make_shared<Tensor>(Tensor::host(DType::u8, {bytes}));
      fill(values_->bytes(), bytes);
    }
    Weight weight{name, DType::bf16, shape, values_->bytes(), values_};
    weight.format = WeightFormat::encoded;
    weight.packed_bytes = static_cast<std::size_t>(bytes);
    weight.decoder = make_gguf_decoder(*type_, values_->bytes(), elements);
    return weight;
  }

  /// The same blocks again and again: to encode them takes long.
  void fill(std::byte* target, std::int64_t bytes) {
    constexpr std::int64_t kBlocks = 251, kElements = 256;
    const Tensor values = random_values(DType::f32, {kBlocks * kElements});
    const std::int64_t period = kBlocks * kElements / type_->weights * type_->bytes;
    std::vector<std::byte> blocks(static_cast<std::size_t>(period));
    encode_gguf(*type_, values.data<float>(), values.size(), blocks.data());
    for (std::int64_t i = 0; i < bytes; i += period)
      std::memcpy(target + i, blocks.data(), static_cast<std::size_t>(std::min(period, bytes - i)));
  }

  const bool distinct_;
  const GgufType* type_ = nullptr;
  Noise noise_;
  std::shared_ptr<Tensor> values_ = std::make_shared<Tensor>(Tensor::host(DType::bf16, {0}));
};

}  // namespace ernie_image
