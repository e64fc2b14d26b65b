// In what numbers the work is done.
#pragma once

#include <array>
#include <string_view>

namespace ernie_image {

/// What tensors between operations are rounded to (weights stay in their file's format).
enum class Precision { fp32, bf16 };

/// What flags, records and reports call them, in the order of the enumerators. `name_of` and
/// `from_name` of core/enum_names.h read these lists.
constexpr std::array<std::string_view, 2> names_of(Precision) { return {"fp32", "bf16"}; }

/// How the weights of linear layers are compressed when they are loaded.
enum class Quantization {
  none,  ///< as in the file
  int8,  ///< about 8.4 bits a weight; activations are rounded to 8 bits too
  int4,  ///< about 4.4 bits a weight; activations are rounded to 8 bits
};

constexpr std::array<std::string_view, 3> names_of(Quantization) {
  return {"none", "int8", "int4"};
}

}  // namespace ernie_image
