// Numbers without pattern for weights and activations: no sum overflows, no product is trivial.
#pragma once

#include <cstdint>

#include "core/half.h"
#include "core/weight.h"

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

/// bf16 weights of any name and shape. Distinct: none shares memory with another, since a weight
/// that is still in a cache would make a processor look faster than it is. Else all are the same
/// memory, which a card copies for each.
class RandomWeights final : public WeightSource {
 public:
  explicit RandomWeights(bool distinct) : distinct_(distinct) {}

  bool contains(std::string_view) const override { return true; }
  Weight get(const std::string& name, const Shape& shape) override {
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
  const bool distinct_;
  Noise noise_;
  std::shared_ptr<Tensor> values_ = std::make_shared<Tensor>(Tensor::host(DType::bf16, {0}));
};

}  // namespace ernie_image
