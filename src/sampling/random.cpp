// Reference: ATen's CPU normal_ (normal_fill for 16 elements and more) over its mt19937.
#include "sampling/random.h"

#include <cmath>
#include <numbers>

#include "core/half.h"

namespace ernie_image {
namespace {

constexpr std::size_t kBlock = 16;  // elements that Box-Muller turns into normals at once

// Uniforms in [0, 1) to normals: element j of the first half gives the radius, its partner in the
// second half the angle. In float, as the reference.
void box_muller(std::span<float, kBlock> block) {
  constexpr auto kTwoPi = static_cast<float>(2 * std::numbers::pi);
  constexpr std::size_t kHalf = kBlock / 2;
  for (std::size_t j = 0; j < kHalf; ++j) {
    const float radius = std::sqrt(-2.0f * std::log(1.0f - block[j]));
    const float angle = kTwoPi * block[j + kHalf];
    block[j] = radius * std::cos(angle);
    block[j + kHalf] = radius * std::sin(angle);
  }
}

}  // namespace

TorchGenerator::TorchGenerator(std::uint64_t seed) : engine_(static_cast<std::uint32_t>(seed)) {}

void TorchGenerator::randn(std::span<float> values, Precision precision) {
  if (values.size() < kBlock) {
    fill_small(values);
  } else {
    fill_blocks(values, precision);
  }
  if (precision == Precision::fp32) return;
  for (float& value : values) value = round_to_bf16(value);
}

float TorchGenerator::uniform() { return static_cast<float>(engine_() & 0xFFFFFFu) * 0x1p-24f; }

double TorchGenerator::uniform_double() {
  const std::uint64_t high = engine_();
  const std::uint64_t bits = high << 32 | engine_();
  return static_cast<double>(bits & ((std::uint64_t{1} << 53) - 1)) * 0x1p-53;
}

double TorchGenerator::scalar_normal() {
  if (cached_normal_) {
    const double normal = *cached_normal_;
    cached_normal_.reset();
    return normal;
  }
  const double angle = 2 * std::numbers::pi * uniform_double();
  const double radius = std::sqrt(-2 * std::log1p(-uniform_double()));
  cached_normal_ = radius * std::sin(angle);
  return radius * std::cos(angle);
}

void TorchGenerator::fill_small(std::span<float> values) {
  for (float& value : values) value = static_cast<float>(scalar_normal());
}

// The last 16 elements are drawn anew when the size is no multiple of 16. In float the incomplete
// block has taken its uniforms before that, in bf16 it has not.
void TorchGenerator::fill_blocks(std::span<float> values, Precision precision) {
  const std::size_t whole = values.size() / kBlock * kBlock;
  fill_uniform(precision == Precision::fp32 ? values : values.first(whole));
  for (std::size_t begin = 0; begin < whole; begin += kBlock) {
    box_muller(values.subspan(begin).first<kBlock>());
  }
  if (whole == values.size()) return;
  fill_uniform(values.last<kBlock>());
  box_muller(values.last<kBlock>());
}

void TorchGenerator::fill_uniform(std::span<float> values) {
  for (float& value : values) value = uniform();
}

}  // namespace ernie_image
