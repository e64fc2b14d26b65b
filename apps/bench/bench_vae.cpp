#include "bench/bench_vae.h"

#include <algorithm>
#include <chrono>

#include "backend/cpu/cpu_backend.h"
#include "memory/memory_sampler.h"
#include "memory/rehearsal.h"
#include "models/vae_decoder.h"

namespace ernie_image {
namespace {

std::int64_t convolution(std::int64_t pixels, std::int64_t inputs, std::int64_t outputs) {
  return 9 * pixels * inputs * outputs;
}

std::int64_t residual_block(std::int64_t pixels, std::int64_t inputs, std::int64_t outputs) {
  const std::int64_t shortcut = inputs == outputs ? 0 : pixels * inputs * outputs;
  return convolution(pixels, inputs, outputs) + convolution(pixels, outputs, outputs) + shortcut;
}

/// Values without pattern, of about the size of real latents.
Tensor latents(std::int64_t side, std::int64_t channels) {
  Tensor z = Tensor::host(DType::f32, {1, side, side, channels});
  std::uint32_t state = 1;
  for (float& value : z.span<float>()) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) * 0x1p-23f - 1.0f;
  }
  return z;
}

/// What decoding takes beside its weights.
std::uint64_t planned_bytes(const Backend& ops, const VaeConfig& config, const Shape& z) {
  Ledger ledger;
  const HostRehearsal scope(ledger);
  const auto rehearsing = ops.rehearsal(ledger, 0, "");
  BookedWeights weights(ledger, 0, {});
  const VaeDecoder decoder(*rehearsing, weights, config);
  rehearsing->reset_peak_memory();
  decoder.decode(rehearsing->empty(DType::f32, z), {}, nullptr);
  return rehearsing->peak_memory_bytes();
}

}  // namespace

std::int64_t vae_products(const VaeConfig& config, std::int64_t pixels) {
  std::int64_t inputs = config.block_out_channels.back();
  std::int64_t products = convolution(pixels, config.latent_channels, inputs) +
                          pixels * config.latent_channels * config.latent_channels +
                          2 * residual_block(pixels, inputs, inputs) +
                          4 * pixels * inputs * inputs + 2 * pixels * pixels * inputs;
  for (std::size_t level = config.block_out_channels.size(); level-- > 0;) {
    const std::int64_t outputs = config.block_out_channels[level];
    products += residual_block(pixels, inputs, outputs) +
                config.layers_per_block * residual_block(pixels, outputs, outputs);
    if (level > 0) products += convolution(pixels *= 4, outputs, outputs);
    inputs = outputs;
  }
  return products + convolution(pixels, inputs, config.out_channels);
}

std::vector<VaeRate> measure_vae(const BenchOptions& options, WeightSource& weights) {
  const VaeConfig config;
  const auto ops = make_cpu_backend({options.threads, options.cpu_kernels});
  const VaeDecoder decoder(*ops, weights, config);
  std::vector<VaeRate> rates;
  for (const std::int64_t side : {256, 512, 1024}) {
    if (!options.wants_size(side)) continue;
    const Tensor z = latents(2 * side / config.spatial_factor, config.latent_channels);
    VaeRate rate;
    rate.side_px = side;
    rate.seconds = 1e300;
    rate.products = vae_products(config, z.dim(1) * z.dim(2));
    rate.planned_bytes = planned_bytes(*ops, config, z.shape());
    ops->release_cache();
    ops->reset_peak_memory();
    const std::uint64_t before = resident_memory().anonymous_bytes;
    MemorySampler sampler;
    const int rounds = options.quick || side > 512 ? 1 : 3;
    for (int round = 0; round < rounds; ++round) {
      const auto start = std::chrono::steady_clock::now();
      decoder.decode(z, {}, nullptr);
      const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
      rate.seconds = std::min(rate.seconds, time.count());
    }
    rate.peak_bytes = ops->peak_memory_bytes();
    rate.anonymous_bytes = sampler.peak().anonymous_bytes - before;
    rates.push_back(rate);
  }
  return rates;
}

}  // namespace ernie_image
