#include "models/text_encoder.h"

#include <algorithm>
#include <string>

#include "ernie_image/error.h"

namespace ernie_image {

std::string TextEncoder::name_prefix(const WeightSource& source) {
  for (const char* prefix : {"language_model.model.", "language_model.", "model."}) {
    if (source.contains(std::string(prefix) + "embed_tokens.weight")) return prefix;
  }
  return "";
}

std::string TextEncoder::layer_prefix(const WeightSource& source) {
  return name_prefix(source) + "layers.";
}

TextEncoder::TextEncoder(Backend& ops, WeightSource& source, const MinistralConfig& config,
                         const WeightShare& share)
    : ops_(ops), config_(config), split_(std::make_shared<SplitWeights>(share)) {
  require_divides(share, config.num_attention_heads, "heads of the text encoder");
  require_divides(share, config.num_key_value_heads, "key and value heads of the text encoder");
  require_divides(share, config.intermediate_size,
                  "rows of the text encoder's feed-forward layers");
  const WeightLoader loader = WeightLoader(ops, source, name_prefix(source)).sharing(split_);
  embed_tokens_ = loader.load("embed_tokens.weight", {config.vocab_size, config.hidden_size},
                              WeightUse::embedding);
  for (std::int64_t i = 0; i < layers_used(config); ++i) {
    layers_.emplace_back(loader.layer("layers", i), config);
  }
}

void TextEncoder::visit(ModuleVisitor& visitor) {
  visitor.embedding("embed_tokens", embed_tokens_, embedding_adapter_);
  for (std::size_t i = 0; i < layers_.size(); ++i)
    layers_[i].visit("layers." + std::to_string(i) + ".", visitor);
}

Tensor TextEncoder::forward(std::span<const std::int32_t> ids, DType dtype, Trace* trace) const {
  const auto tokens = static_cast<std::int64_t>(ids.size());
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= config_.vocab_size) {
      throw Error(ErrorKind::invalid_argument,
                  "token id " + std::to_string(id) +
                      " is outside the text encoder's vocabulary of " +
                      std::to_string(config_.vocab_size) +
                      "; tokenizer and text_encoder do not belong together");
    }
  }
  const MinistralPositions positions = make_ministral_positions(ops_, config_, 0, tokens, dtype);
  Tensor hidden_states =
      adapted_embedding(ops_, ids, *embed_tokens_, embedding_adapter_.get(), dtype)
          .reshaped({1, tokens, config_.hidden_size});
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    if (listener_ != nullptr) listener_->before_layer(static_cast<std::int64_t>(i));
    const Tap tap(ops_, trace, "text.layer" + std::to_string(i) + ".");
    hidden_states = layers_[i].forward(ops_, hidden_states, positions, tap);
  }
  return hidden_states.reshaped({tokens, config_.hidden_size});
}

}  // namespace ernie_image
