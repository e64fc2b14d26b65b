// The decoder of FLUX.2's autoencoder, with the batch-norm statistics that ERNIE-Image's latents
// are normalised by. Reference: diffusers autoencoder_kl_flux2.py, vae.py (Decoder),
// pipeline_ernie_image.py.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "core/trace.h"
#include "io/json_reader.h"
#include "models/latent_norm.h"
#include "models/vae_blocks.h"
#include "nn/linear.h"
#include "nn/tap.h"

namespace ernie_image {

/// vae/config.json; the initial values are the class defaults of the reference.
struct VaeConfig {
  std::int64_t latent_channels = 32;
  std::int64_t in_channels = 3;
  std::int64_t out_channels = 3;
  /// Widths from the image's end to the latents' end: decoder_block_out_channels, or
  /// block_out_channels.
  std::vector<std::int64_t> block_out_channels = {128, 256, 512, 512};
  /// Likewise of the encoder: block_out_channels.
  std::vector<std::int64_t> encoder_block_out_channels = {128, 256, 512, 512};
  /// Pixels a side of the image for one packed latent: 2^(number of block_out_channels).
  std::int64_t spatial_factor = 16;
  std::int64_t layers_per_block = 2;
  std::int64_t norm_num_groups = 32;
  bool use_post_quant_conv = true;
  bool use_quant_conv = true;
  bool mid_block_add_attention = true;

  /// Channels of a packed latent: 2 x 2 pixels of latent_channels.
  std::int64_t packed_channels() const { return 4 * latent_channels; }

  /// Throws Error(corrupt_file | unsupported).
  static VaeConfig read(const JsonReader& reader);
};

class VaeDecoder {
 public:
  VaeDecoder(Backend& ops, WeightSource& source, const VaeConfig& config);

  const VaeConfig& config() const { return config_; }

  /// Undoes the batch norm, z * sqrt(var + 1e-5) + mean, and the 2 x 2 packing:
  /// host latents [B, 4 C, h, w] to host [B, 2h, 2w, C], rounding in bf16 where the reference does.
  Tensor unpack(const Tensor& latents) const { return norm_.unpack(latents); }

  /// z: [B, 2h, 2w, C] from `unpack`, on the backend. Result: host [B, H, W, 3], nominally in [-1,
  /// 1].
  Tensor decode(const Tensor& z, const DecodeBands& bands, Trace* trace) const;

  /// Strips of fewer rows are not blended well.
  static std::int64_t least_strip_rows();
  std::size_t num_blocks() const { return up_blocks_.size(); }

 private:
  BandedImage head(const Tensor& z, const Tap& tap) const;
  BandedImage up_blocks(BandedImage x, std::size_t first, std::size_t last,
                        const DecodeBands& bands, const Tap& tap) const;
  /// The host picture [B, H, W, 3].
  Tensor tail(BandedImage x, const Tap& tap) const;
  Tensor decode_in_strips(const BandedImage& x, const DecodeBands& bands) const;

  Backend& ops_;
  VaeConfig config_;
  LatentNorm norm_;
  std::optional<Conv2d> post_quant_conv_;
  Conv2d conv_in_;
  MidBlock mid_block_;
  std::vector<UpBlock> up_blocks_;
  GroupNorm conv_norm_out_;
  Conv2d conv_out_;
};

/// Host images [B, H, W, 3] in [-1, 1] to 8-bit: clamp(x / 2 + 1/2) rounded to the tensor's type at
/// both steps, then to nearest even of 255 times that. Result: u8 [B, H, W, 3].
Tensor to_uint8(const Tensor& images);

}  // namespace ernie_image
