#include "core/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace ernie_image {
namespace {

TEST(Bf16, EveryValueSurvivesTheTripThroughFloat) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = bf16_to_float(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(round_to_bf16(value))) << bits;
    } else {
      EXPECT_EQ(float_to_bf16(value), half);
    }
  }
}

TEST(Bf16, RoundsToNearestWithTiesToEven) {
  const float ulp = 0x1p-7f;  // of bf16 in [1, 2)
  EXPECT_EQ(round_to_bf16(1 + 0.49f * ulp), 1);
  EXPECT_EQ(round_to_bf16(1 + 0.5f * ulp), 1);
  EXPECT_EQ(round_to_bf16(1 + 0.51f * ulp), 1 + ulp);
  EXPECT_EQ(round_to_bf16(1 + 1.5f * ulp), 1 + 2 * ulp);
  EXPECT_EQ(round_to_bf16(-(1 + 1.5f * ulp)), -(1 + 2 * ulp));
}

TEST(Bf16, OverflowsToInfinity) {
  EXPECT_EQ(round_to_bf16(std::numeric_limits<float>::max()),
            std::numeric_limits<float>::infinity());
}

TEST(Bf16, ANanWhosePayloadIsInTheLowBitsStaysANan) {
  EXPECT_TRUE(std::isnan(round_to_bf16(std::bit_cast<float>(0x7f800001u))));
  EXPECT_TRUE(std::isnan(round_to_bf16(std::bit_cast<float>(0xffffffffu))));
}

/// Straight from the definition of the format.
float f16_by_definition(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const float sign = (bits & 0x8000) != 0 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa == 0 ? sign * INFINITY : NAN;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
}

TEST(F16, EveryValueIsWhatItsBitsSay) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float expected = f16_by_definition(half);
    const float value = f16_to_float(half);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(value)) << bits;
    } else {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(value), std::bit_cast<std::uint32_t>(expected));
    }
  }
}

}  // namespace
}  // namespace ernie_image
