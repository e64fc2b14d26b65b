// The encoder of FLUX.2's autoencoder: pictures to the mean of their latents. Reference: diffusers
// autoencoder_kl_flux2.py, vae.py (Encoder).
#pragma once

#include <optional>
#include <vector>

#include "backend/backend.h"
#include "core/trace.h"
#include "models/latent_norm.h"
#include "models/vae_blocks.h"
#include "models/vae_decoder.h"
#include "nn/linear.h"
#include "nn/tap.h"

namespace ernie_image {

class VaeEncoder {
 public:
  /// Throws Error(unsupported) for a config of other than RGB pictures, Error(corrupt_file) for
  /// widths that do not divide by the groups, or blocks without layers.
  VaeEncoder(Backend& ops, WeightSource& source, const VaeConfig& config);

  /// Host pictures [B, H, W, 3] in [-1, 1] to the mean of the distribution, on the host:
  /// [B, H / f, W / f, C], rounded down, f half the config's spatial_factor. H and W of at least f.
  /// `band_bytes`: of the bands that pictures are cut into.
  Tensor encode(const Tensor& pictures, std::size_t band_bytes, Trace* trace) const;

  /// The mean [B, 2h, 2w, C] as latents [B, 4 C, h, w] that the transformer knows.
  Tensor pack(const Tensor& mean) const { return norm_.pack(mean); }

 private:
  BandedImage down(const Tensor& pictures, std::size_t band_bytes, const Tap& tap) const;
  /// [B, H / f, W / f, 2 C]: mean and logarithm of the variance.
  Tensor moments(const Tensor& x, const Tap& tap) const;

  Backend& ops_;
  VaeConfig config_;
  LatentNorm norm_;
  Conv2d conv_in_;
  std::vector<DownBlock> down_blocks_;
  MidBlock mid_block_;
  GroupNorm conv_norm_out_;
  Conv2d conv_out_;
  std::optional<Conv2d> quant_conv_;
};

/// Pictures [B, H, W, 3] of 8 bits as the encoder takes them: 2 (x / 255) - 1 in float, rounded to
/// `dtype` at the end.
Tensor from_uint8(const Tensor& pixels, DType dtype);

}  // namespace ernie_image
