// In what numbers the work is done.
#pragma once

namespace ernie_image {

/// What tensors between operations are rounded to (weights stay in their file's format).
enum class Precision { fp32, bf16 };

/// How the weights of linear layers are compressed when they are loaded.
enum class Quantization {
  none,  ///< as in the file
  int8,  ///< about 8.4 bits a weight; activations are rounded to 8 bits too
  int4,  ///< about 4.4 bits a weight; activations are rounded to 8 bits
};

}  // namespace ernie_image
