// Speed and memory of the whole VAE decoder and encoder at the released widths.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/bench_command.h"
#include "core/weight.h"
#include "models/vae_decoder.h"

namespace ernie_image {

/// Products of all layers, for so many pixels of unpacked latents.
std::int64_t vae_products(const VaeConfig& config, std::int64_t pixels);

/// The same of the encoder, for so many pixels of the picture.
std::int64_t vae_encoder_products(const VaeConfig& config, std::int64_t pixels);

struct VaeRate {
  std::int64_t side_px = 0;         ///< of the square picture
  double seconds = 0;               ///< the fastest round
  std::int64_t products = 0;        ///< as direct convolutions would count them
  std::uint64_t peak_bytes = 0;     ///< activations and scratch memory, as the backend counts them
  std::uint64_t planned_bytes = 0;  ///< what the memory plan says; 0: it does not know the stage
  std::uint64_t anonymous_bytes = 0;  ///< resident memory beyond what was there before
};

/// One picture of each size asked for, decoded.
std::vector<VaeRate> measure_vae(const BenchOptions& options, WeightSource& weights);

/// The same, encoded.
std::vector<VaeRate> measure_vae_encoder(const BenchOptions& options, WeightSource& weights);

}  // namespace ernie_image
