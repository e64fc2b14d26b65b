#include "bench/bench_models.h"

#include <algorithm>
#include <array>
#include <functional>

#include "bench/bench_decode.h"
#include "bench/bench_vae.h"
#include "bench/released_sizes.h"
#include "ernie_image/error.h"
#include "models/language_model.h"

namespace ernie_image {
namespace {

constexpr int kRuns = 5;

/// Values without pattern, of about the size of real latents.
Tensor latents_like(Shape shape) {
  Tensor tensor = Tensor::host(DType::f32, std::move(shape));
  std::uint32_t state = 1;
  for (float& value : tensor.span<float>()) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) * 0x1p-23f - 1.0f;
  }
  return round_to(tensor, DType::bf16);
}

/// The fastest run after two that bring weights to the device, make plans and record.
double fastest(Backend& ops, const std::function<void()>& run) {
  run();
  run();
  const auto timer = ops.make_timer();
  double seconds = 1e300;
  for (int i = 0; i < kRuns; ++i) {
    timer->start();
    run();
    seconds = std::min(seconds, timer->stop());
  }
  return seconds;
}

/// `measure`, unless the device's memory does not hold what it needs.
ModelRate within_memory(Backend& ops, ModelRate rate, const std::function<void(ModelRate&)>& run) {
  try {
    run(rate);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::out_of_memory) throw;
    rate.problem = error.what();
  }
  ops.end_stage();
  ops.release_cache();
  return rate;
}

}  // namespace

BenchModels released_models() {
  BenchModels models;
  models.transformer.hidden_size = kHidden;
  models.transformer.num_attention_heads = kHeads;
  models.transformer.num_layers = 36;
  models.transformer.ffn_hidden_size = kFeedForward;
  models.transformer.text_in_dim = 3072;
  models.language.hidden_size = 3072;
  models.language.intermediate_size = 9216;
  models.language.num_hidden_layers = 2;
  return models;
}

ModelRate measure_step(Backend& ops, WeightSource& weights, const BenchModels& models,
                       std::int64_t side_px, Quantization quantization) {
  const TransformerConfig& config = models.transformer;
  const std::int64_t side = side_px / models.vae.spatial_factor;
  ModelRate rate{"transformer_step", {side_px, side_px}, quantization};
  rate.products = config.num_layers * block_products(side * side + models.text_tokens,
                                                     config.hidden_size, config.ffn_hidden_size);
  return within_memory(ops, rate, [&](ModelRate& measured) {
    const Transformer transformer(ops, weights, config, quantization);
    const Tensor text = latents_like({1, models.text_tokens, config.text_in_dim});
    const std::array lengths = {models.text_tokens};
    const TransformerContext context =
        transformer.prepare(ops.upload(text), lengths, side, side, nullptr);
    const Tensor latents = ops.upload(latents_like({1, config.in_channels, side, side}));
    const std::array timesteps = {500.0f};
    measured.seconds =
        fastest(ops, [&] { transformer.forward(latents, timesteps, context, nullptr); });
  });
}

ModelRate measure_picture(Backend& ops, WeightSource& weights, const BenchModels& models,
                          std::int64_t side_px) {
  const std::int64_t side = 2 * side_px / models.vae.spatial_factor;
  ModelRate rate{"vae_decode", {side_px, side_px}};
  rate.products = vae_products(models.vae, side * side);
  return within_memory(ops, rate, [&](ModelRate& measured) {
    const VaeDecoder decoder(ops, weights, models.vae);
    const Tensor z = ops.upload(latents_like({1, side, side, models.vae.latent_channels}));
    measured.seconds = fastest(ops, [&] { decoder.decode(z, {}, nullptr); });
  });
}

ModelRate measure_token(Backend& ops, WeightSource& weights, const BenchModels& models,
                        Quantization quantization) {
  const MinistralConfig& config = models.language;
  ModelRate rate{"llm_decode", {models.context_tokens}, quantization};
  // As cards keep them: rows of codes, or packed records.
  const double bytes =
      quantization == Quantization::int8 ? 1 : packed_bytes_of_weight(quantization);
  rate.weight_bytes = token_bytes(config, config.num_hidden_layers, bytes);
  return within_memory(ops, rate, [&](ModelRate& measured) {
    const LanguageModel model(ops, weights, config, false, quantization);
    const std::vector<std::int32_t> context(static_cast<std::size_t>(models.context_tokens), 1);
    KvCache cache = model.make_cache(models.context_tokens + kRuns + 2, DType::bf16);
    model.forward(context, cache);
    measured.seconds = fastest(ops, [&] { model.forward({context.data(), 1}, cache); });
    measured.whole_runs_per_second = measured.weight_bytes / measured.seconds /
                                     token_bytes(config, models.language_layers, bytes);
  });
}

}  // namespace ernie_image
