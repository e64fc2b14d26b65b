#include "io/small_floats.h"

#include <cassert>

namespace ernie_image {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// IEEE-like: the largest exponent is infinity and NaN.
float e5m2_to_float(std::uint8_t code) {
  const unsigned magnitude = code & 0x7f;
  float value = small_float(magnitude, 2, 15);
  if (magnitude == 0x7c) value = std::numeric_limits<float>::infinity();
  if (magnitude > 0x7c) value = kNaN;
  return (code & 0x80) != 0 ? -value : value;
}

/// The FNUZ types: one more in the bias, no infinity, and the code of a negative zero is NaN.
float fnuz_to_float(std::uint8_t code, int mantissa_bits, int bias) {
  if (code == 0x80) return kNaN;
  const float value = small_float(code & 0x7fu, mantissa_bits, bias);
  return (code & 0x80) != 0 ? -value : value;
}

float byte_value(DType dtype, std::uint8_t code) {
  switch (dtype) {
    case DType::f8_e4m3:
      return e4m3_to_float(code);
    case DType::f8_e5m2:
      return e5m2_to_float(code);
    case DType::f8_e4m3fnuz:
      return fnuz_to_float(code, 3, 8);
    case DType::f8_e5m2fnuz:
      return fnuz_to_float(code, 2, 16);
    case DType::f8_e8m0:
      return e8m0_to_float(code);
    case DType::i8:
      return static_cast<float>(static_cast<std::int8_t>(code));
    default:
      assert(dtype == DType::u8);
      return static_cast<float>(code);
  }
}

}  // namespace

std::array<float, 256> byte_values(DType dtype) {
  std::array<float, 256> values;
  for (std::size_t code = 0; code < values.size(); ++code)
    values[code] = byte_value(dtype, static_cast<std::uint8_t>(code));
  return values;
}

}  // namespace ernie_image
