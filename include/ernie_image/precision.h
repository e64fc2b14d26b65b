// In what numbers the work is done.
#pragma once

namespace ernie_image {

/// What tensors between operations are rounded to (weights stay in their file's format).
enum class Precision { fp32, bf16 };

/// How the weights of linear layers are compressed when they are loaded.
enum class Quantization {
  none,  ///< as in the file
  int8,  ///< symmetric, one scale an output row: round(w / s), s = max |w| of the row / 127
};

}  // namespace ernie_image
