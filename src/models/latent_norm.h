// From what the VAE makes of a picture to the latents that the transformer sees, and back: 2 x 2
// pixels packed into one, and batch-norm statistics. Reference: diffusers
// pipeline_ernie_image.py (back), pipeline_flux2.py (there).
#pragma once

#include <cstdint>

#include "core/tensor.h"
#include "core/weight.h"

namespace ernie_image {

/// On the host, rounding in bf16 where the reference does. C: channels of the VAE.
class LatentNorm {
 public:
  /// Loads `bn.running_mean` and `bn.running_var` [4 C]. Throws Error(unsupported) for types other
  /// than F32, BF16 and F16.
  LatentNorm(WeightSource& source, std::int64_t packed_channels);

  /// latents [B, 4 C, h, w] to z [B, 2h, 2w, C]: x * sqrt(var + 1e-5) + mean, unpacked.
  Tensor unpack(const Tensor& latents) const;

  /// The reverse, (z - mean) / sqrt(var + 1e-5), of even height and width.
  Tensor pack(const Tensor& z) const;

 private:
  struct Statistics {
    float mean;
    float deviation;
  };
  Statistics statistics(std::int64_t channel, DType dtype) const;

  Tensor mean_, variance_;  // f32 [4 C]
};

}  // namespace ernie_image
