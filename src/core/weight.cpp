#include "core/weight.h"

#include <cassert>
#include <cstring>
#include <utility>

#include "core/half.h"

namespace ernie_image {
namespace {

void widen_plain(const Weight& weight, std::int64_t begin, std::int64_t count, float* target) {
  assert(is_weight_number(weight.dtype));
  const std::byte* source = weight.data + static_cast<std::size_t>(begin) * size_of(weight.dtype);
  if (weight.dtype == DType::f32) {
    std::memcpy(target, source, static_cast<std::size_t>(count) * sizeof(float));
    return;
  }
  const auto widen = weight.dtype == DType::bf16 ? bf16_to_float : f16_to_float;
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, source + 2 * i, sizeof(bits));
    target[i] = widen(bits);
  }
}

}  // namespace

void widen_elements(const Weight& weight, std::int64_t begin, std::int64_t count, float* target) {
  if (weight.format == WeightFormat::encoded) {
    weight.decoder->decode(begin, count, target);
  } else {
    widen_plain(weight, begin, count, target);
  }
}

Tensor widened(const Weight& weight) {
  Tensor values = Tensor::host(DType::f32, weight.shape);
  if (values.is_booked()) return values;
  widen_elements(weight, 0, values.size(), values.data<float>());
  return values;
}

Weight expanded(const Weight& weight) {
  if (weight.format != WeightFormat::encoded || weight.data == nullptr) return weight;
  const auto copy = std::make_shared<Tensor>(round_to(widened(weight), weight.dtype));
  return {weight.name, weight.dtype, weight.shape, copy->bytes(), copy};
}

}  // namespace ernie_image
