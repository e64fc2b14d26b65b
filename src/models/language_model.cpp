#include "models/language_model.h"

#include <cassert>
#include <string>

#include "models/quantized_weights.h"

namespace ernie_image {

LanguageModel::LanguageModel(Backend& ops, WeightSource& source, const MinistralConfig& config,
                             bool tie_word_embeddings, Quantization quantization)
    : ops_(ops), config_(config) {
  const WeightLoader root(ops, source, "", quantization, quantized_weights());
  const WeightLoader model = root.at("model");
  const Shape table = {config.vocab_size, config.hidden_size};
  embed_tokens_ = model.load("embed_tokens.weight", table, WeightUse::embedding);
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    layers_.emplace_back(model.layer("layers", i), config);
  }
  norm_ = model.vector("norm.weight", config.hidden_size);
  lm_head_.weight = tie_word_embeddings
                        ? model.load("embed_tokens.weight", table, WeightUse::linear)
                        : root.load("lm_head.weight", table, WeightUse::linear);
}

KvCache LanguageModel::make_cache(std::int64_t capacity, DType dtype) const {
  const Shape shape = {capacity, config_.num_key_value_heads, config_.head_dim};
  KvCache cache;
  cache.capacity = capacity;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    cache.layers.push_back({ops_.empty(dtype, shape), ops_.empty(dtype, shape), 0});
  }
  return cache;
}

Tensor LanguageModel::embedding(std::span<const std::int32_t> ids, DType dtype) const {
  return ops_.embedding(ids, *embed_tokens_, dtype)
      .reshaped({1, std::ssize(ids), config_.hidden_size});
}

Tensor LanguageModel::forward(std::span<const std::int32_t> ids, KvCache& cache,
                              Trace* trace) const {
  const auto tokens = static_cast<std::int64_t>(ids.size());
  assert(tokens >= 1 && cache.length + tokens <= cache.capacity);
  const DType dtype = cache.layers.front().key.dtype();
  const MinistralPositions positions =
      make_ministral_positions(ops_, config_, cache.length, tokens, dtype);
  const Tap tap(ops_, trace, "pe.");
  Tensor hidden_states = embedding(ids, dtype);
  tap("embedding", hidden_states);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    if (listener_ != nullptr) listener_->before_layer(static_cast<std::int64_t>(i));
    const Tap layer = tap.at("layer" + std::to_string(i) + ".");
    hidden_states = layers_[i].forward(ops_, hidden_states, positions, layer, &cache.layers[i]);
  }
  cache.length += tokens;
  const Tensor last = ops_.slice_rows(hidden_states, tokens - 1, 1);
  const Tensor logits =
      lm_head_(ops_, ops_.rms_norm(last, *norm_, static_cast<float>(config_.rms_norm_eps)));
  return to_float(ops_.download(logits)).reshaped({config_.vocab_size});
}

}  // namespace ernie_image
