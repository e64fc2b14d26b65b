#include "sampling/guidance.h"

#include "core/half.h"

namespace ernie_image {

Tensor apply_guidance(const Tensor& negative, const Tensor& positive, double guidance_scale) {
  const DType dtype = negative.dtype();
  const auto rounded = [dtype](float value) {
    return dtype == DType::bf16 ? round_to_bf16(value) : value;
  };
  const Tensor from = to_float(negative), to = to_float(positive);
  const auto scale = static_cast<float>(guidance_scale);
  Tensor guided = Tensor::host(DType::f32, negative.shape());
  for (std::int64_t i = 0; i < guided.size() && !guided.is_booked(); ++i) {
    const float difference = rounded(to.data<float>()[i] - from.data<float>()[i]);
    guided.data<float>()[i] = rounded(from.data<float>()[i] + rounded(scale * difference));
  }
  return round_to(guided, dtype);
}

}  // namespace ernie_image
