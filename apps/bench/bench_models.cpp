#include "bench/bench_models.h"

#include <array>
#include <memory>
#include <vector>

#include "bench/random_weights.h"
#include "core/packed_weight.h"
#include "models/language_model.h"
#include "models/vae_encoder.h"

namespace ernie_image {
namespace {

/// Of about the size of real latents.
Tensor latents_like(DType dtype, Shape shape) {
  return random_values(dtype, std::move(shape), 1.0f);
}

std::int64_t convolution_products(std::int64_t pixels, std::int64_t inputs, std::int64_t outputs) {
  return 9 * pixels * inputs * outputs;
}

std::int64_t residual_products(std::int64_t pixels, std::int64_t inputs, std::int64_t outputs) {
  const std::int64_t shortcut = inputs == outputs ? 0 : pixels * inputs * outputs;
  return convolution_products(pixels, inputs, outputs) +
         convolution_products(pixels, outputs, outputs) + shortcut;
}

/// Of all layers of the decoder, for so many pixels of unpacked latents; as direct convolutions
/// would count them.
std::int64_t vae_products(const VaeConfig& config, std::int64_t pixels) {
  std::int64_t inputs = config.block_out_channels.back();
  std::int64_t products = convolution_products(pixels, config.latent_channels, inputs) +
                          pixels * config.latent_channels * config.latent_channels +
                          2 * residual_products(pixels, inputs, inputs) +
                          4 * pixels * inputs * inputs + 2 * pixels * pixels * inputs;
  for (std::size_t level = config.block_out_channels.size(); level-- > 0;) {
    const std::int64_t outputs = config.block_out_channels[level];
    products += residual_products(pixels, inputs, outputs) +
                config.layers_per_block * residual_products(pixels, outputs, outputs);
    if (level > 0) products += convolution_products(pixels *= 4, outputs, outputs);
    inputs = outputs;
  }
  return products + convolution_products(pixels, inputs, config.out_channels);
}

/// The same of the encoder, for so many pixels of the picture.
std::int64_t vae_encoder_products(const VaeConfig& config, std::int64_t pixels) {
  const auto& widths = config.encoder_block_out_channels;
  std::int64_t inputs = widths.front();
  std::int64_t products = convolution_products(pixels, config.in_channels, inputs);
  for (std::size_t level = 0; level < widths.size(); ++level) {
    products +=
        residual_products(pixels, inputs, widths[level]) +
        (config.layers_per_block - 1) * residual_products(pixels, widths[level], widths[level]);
    inputs = widths[level];
    if (level + 1 < widths.size()) products += convolution_products(pixels /= 4, inputs, inputs);
  }
  const std::int64_t moments = 2 * config.latent_channels;
  return products + 2 * residual_products(pixels, inputs, inputs) + 4 * pixels * inputs * inputs +
         2 * pixels * pixels * inputs + convolution_products(pixels, inputs, moments) +
         pixels * moments * moments;
}

/// What one token reads of a model of so many layers: theirs and those of the output layer.
double token_bytes(const MinistralConfig& c, std::int64_t layers, double weight_bytes) {
  const std::int64_t heads = 2 * c.num_attention_heads + 2 * c.num_key_value_heads;
  const std::int64_t layer = c.hidden_size * (heads * c.head_dim + 3 * c.intermediate_size);
  return weight_bytes * static_cast<double>(layers * layer + c.hidden_size * c.vocab_size);
}

}  // namespace

double bytes_of_weight(const Backend& ops, Quantization quantization) {
  if (quantization == Quantization::none) return 2;
  const bool int8 = quantization == Quantization::int8;
  if (int8 && ops.device_memory()) return 1;  // rows of codes
  constexpr std::int64_t kDepth = 3072;
  const PackedLayout layout(int8 ? WeightFormat::packed_int8 : WeightFormat::packed_int4,
                            {PackedLayout::kPanelOutputs, kDepth});
  return static_cast<double>(layout.record_bytes()) /
         static_cast<double>(PackedLayout::kPanelOutputs * kDepth);
}

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

BenchSample step_sample(Backend& ops, WeightSource& weights, const BenchModels& models,
                        std::int64_t side_px, Quantization quantization) {
  const TransformerConfig& config = models.transformer;
  const std::int64_t side = side_px / models.vae.spatial_factor;
  BenchSample sample{
      .op = "transformer_step", .shape = {side_px, side_px}, .quantization = quantization};
  sample.products = config.num_layers * block_products(side * side + models.text_tokens,
                                                       config.hidden_size, config.ffn_hidden_size);
  sample.prepare = [&ops, &weights, models, side, quantization] {
    const TransformerConfig& shape = models.transformer;
    const auto transformer = std::make_shared<Transformer>(ops, weights, shape, quantization);
    const Tensor text =
        ops.upload(latents_like(models.dtype, {1, models.text_tokens, shape.text_in_dim}));
    const std::array lengths = {models.text_tokens};
    const TransformerContext context = transformer->prepare(text, lengths, side, side, nullptr);
    const Tensor latents =
        ops.upload(latents_like(models.dtype, {1, shape.in_channels, side, side}));
    return [transformer, context, latents] {
      const std::array timesteps = {500.0f};
      transformer->forward(latents, timesteps, context, nullptr);
    };
  };
  return sample;
}

BenchSample picture_sample(Backend& ops, WeightSource& weights, const BenchModels& models,
                           std::int64_t side_px) {
  const std::int64_t side = 2 * side_px / models.vae.spatial_factor;
  BenchSample sample{.op = "vae_decode", .shape = {side_px, side_px}};
  sample.products = vae_products(models.vae, side * side);
  sample.watches_memory = true;
  sample.prepare = [&ops, &weights, models, side] {
    const auto decoder = std::make_shared<VaeDecoder>(ops, weights, models.vae);
    const Tensor z =
        ops.upload(latents_like(models.dtype, {1, side, side, models.vae.latent_channels}));
    return [decoder, z] { decoder->decode(z, {}, nullptr); };
  };
  return sample;
}

BenchSample encoding_sample(Backend& ops, WeightSource& weights, const BenchModels& models,
                            std::int64_t side_px) {
  BenchSample sample{.op = "vae_encode", .shape = {side_px, side_px}};
  sample.products = vae_encoder_products(models.vae, side_px * side_px);
  sample.watches_memory = true;
  sample.prepare = [&ops, &weights, models, side_px] {
    const auto encoder = std::make_shared<VaeEncoder>(ops, weights, models.vae);
    const Tensor picture =
        latents_like(models.dtype, {1, side_px, side_px, models.vae.in_channels});
    return [encoder, picture] { encoder->encode(picture, kBandBytes, nullptr); };
  };
  return sample;
}

BenchSample token_sample(Backend& ops, WeightSource& weights, const BenchModels& models,
                         Quantization quantization) {
  const MinistralConfig& config = models.language;
  const double weight_bytes = bytes_of_weight(ops, quantization);
  BenchSample sample{
      .op = "llm_decode", .shape = {models.context_tokens}, .quantization = quantization};
  sample.bytes = token_bytes(config, config.num_hidden_layers, weight_bytes);
  sample.share_of_model = sample.bytes / token_bytes(config, models.language_layers, weight_bytes);
  sample.prepare = [&ops, &weights, models, quantization] {
    const auto model =
        std::make_shared<LanguageModel>(ops, weights, models.language, false, quantization);
    const auto cache =
        std::make_shared<KvCache>(model->make_cache(models.context_tokens + 1, models.dtype));
    const std::vector<std::int32_t> context(static_cast<std::size_t>(models.context_tokens), 1);
    model->forward(context, *cache);
    return [model, cache, length = models.context_tokens] {
      cache->truncate(length);  // the same token again
      const std::array<std::int32_t, 1> token = {1};
      model->forward(token, *cache);
    };
  };
  return sample;
}

}  // namespace ernie_image
