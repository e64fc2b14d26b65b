// Floating point numbers of 8 and 4 bits, as model files have them.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/dtype.h"

namespace ernie_image {

/// FP4 (E2M1): sign, two bits of exponent, one of mantissa.
inline constexpr std::array<float, 16> kE2m1 = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                                                -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/// 2^(code - 127). The code 255, which stands for no number elsewhere, is not special here: 2^128
/// is infinite in f32.
inline float e8m0_to_float(std::uint8_t code) {
  return code == 0 ? std::ldexp(1.0f, -127)
                   : std::bit_cast<float>(static_cast<std::uint32_t>(code) << 23);
}

/// Without a largest exponent of its own: `bias` and widths as given, magnitude bits only.
inline float small_float(unsigned code, int mantissa_bits, int bias) {
  const int exponent = static_cast<int>(code >> mantissa_bits);
  const int mantissa = static_cast<int>(code & ((1u << mantissa_bits) - 1));
  const int whole = exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits);
  return std::ldexp(static_cast<float>(whole),
                    (exponent == 0 ? 1 : exponent) - bias - mantissa_bits);
}

/// OCP E4M3: no infinity, all ones is no number.
inline float e4m3_to_float(std::uint8_t code) {
  const unsigned magnitude = code & 0x7f;
  const float value =
      magnitude == 0x7f ? std::numeric_limits<float>::quiet_NaN() : small_float(magnitude, 3, 7);
  return (code & 0x80) != 0 ? -value : value;
}

/// Rounds to nearest, ties to even; beyond the largest number, 448, that.
inline std::uint8_t float_to_e4m3(float value) {
  const unsigned sign = std::signbit(value) ? 0x80 : 0;
  const float magnitude = std::abs(value);
  if (std::isnan(value)) return static_cast<std::uint8_t>(sign | 0x7f);
  if (magnitude >= 448) return static_cast<std::uint8_t>(sign | 0x7e);
  const int exponent = magnitude < 0x1p-6f ? -6 : std::ilogb(magnitude);
  const auto steps = static_cast<unsigned>(std::nearbyint(std::ldexp(magnitude, 3 - exponent)));
  // Eight steps more are the next exponent: a carry does what it should.
  return static_cast<std::uint8_t>(
      sign | (steps + (magnitude < 0x1p-6f ? 0u : static_cast<unsigned>(exponent + 6) << 3)));
}

/// The value of every code of an 8-bit type: F8_*, I8, U8.
std::array<float, 256> byte_values(DType dtype);

}  // namespace ernie_image
