#include "sampling/inpaint.h"

#include <algorithm>
#include <cassert>

namespace ernie_image {

Tensor latent_mask(std::span<const std::uint8_t> mask, std::int64_t height, std::int64_t width,
                   std::int64_t factor) {
  Tensor result = Tensor::host(DType::f32, {height, width});
  if (result.is_booked()) return result;
  assert(std::ssize(mask) == height * width * factor * factor);
  for (std::int64_t i = 0; i < std::ssize(mask); ++i) {
    const std::int64_t y = i / (width * factor) / factor, x = i % (width * factor) / factor;
    float& cell = result.data<float>()[y * width + x];
    cell = std::max(cell, static_cast<float>(mask[static_cast<std::size_t>(i)]) / 255.0f);
  }
  return result;
}

Tensor blended(const Tensor& latents, const Tensor& kept, const Tensor& mask) {
  assert(latents.shape() == kept.shape() && latents.dtype() == kept.dtype());
  const Tensor drawn = to_float(latents), held = to_float(kept);
  Tensor result = Tensor::host(DType::f32, latents.shape());
  for (std::int64_t i = 0; i < result.size() && !result.is_booked(); ++i) {
    const float m = mask.data<float>()[i % mask.size()];
    const float a = drawn.data<float>()[i], b = held.data<float>()[i];
    result.data<float>()[i] = m == 1.0f ? a : m == 0.0f ? b : m * a + (1.0f - m) * b;
  }
  return round_to(result, latents.dtype());
}

void put_back(Image& drawn, const Image& kept, std::span<const std::uint8_t> mask) {
  assert(drawn.rgb.size() == kept.rgb.size() && mask.size() == kept.rgb.size() / 3);
  for (std::size_t i = 0; i < drawn.rgb.size(); ++i) {
    const int m = mask[i / 3];
    drawn.rgb[i] =
        static_cast<std::uint8_t>((m * drawn.rgb[i] + (255 - m) * kept.rgb[i] + 127) / 255);
  }
}

}  // namespace ernie_image
