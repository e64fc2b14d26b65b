// How much memory the VAE decoder needs, known before any work is done.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "models/vae_decoder.h"

namespace ernie_image {

/// Of a picture on its way through the decoder; its channels are those of the block.
struct VaeExtent {
  std::int64_t batch;
  std::int64_t rows;
  std::int64_t width;
  DType dtype;

  VaeExtent upsampled() const { return {batch, 2 * rows, 2 * width, dtype}; }
};

/// Bytes of activations and scratch memory that up block `index` needs at its peak, for an input of
/// the extent.
std::uint64_t up_block_bytes(const VaeConfig& config, std::size_t index, const VaeExtent& extent,
                             std::size_t band_bytes);

/// The same for decoding `batch` images of packed latents h x w in one piece.
std::uint64_t vae_decoder_bytes(const VaeConfig& config, std::int64_t batch, std::int64_t h,
                                std::int64_t w, DType dtype);

}  // namespace ernie_image
