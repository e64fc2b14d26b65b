// A Ministral-3 causal language model with a key/value cache: what the prompt enhancer runs.
// Reference: transformers modeling_ministral3.py, Ministral3ForCausalLM.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "core/trace.h"
#include "models/ministral.h"

namespace ernie_image {

/// The tokens of one sequence so far.
struct KvCache {
  std::vector<LayerCache> layers;
  std::int64_t length = 0;
  std::int64_t capacity = 0;

  /// Forgets all but the first `tokens`.
  void truncate(std::int64_t tokens) {
    length = tokens;
    for (LayerCache& layer : layers) layer.length = tokens;
  }
};

class LanguageModel {
 public:
  /// `tie_word_embeddings`: the embedding table serves as the output layer, whatever the file holds
  /// beside it.
  LanguageModel(Backend& ops, WeightSource& source, const MinistralConfig& config,
                bool tie_word_embeddings, Quantization quantization = Quantization::none);

  /// Layer i has the weights whose names begin with this and "i.".
  static constexpr std::string_view kLayerPrefix = "model.layers.";

  const MinistralConfig& config() const { return config_; }

  /// Told of every layer of `forward` from now on; null for nobody.
  void set_layer_listener(LayerListener* listener) { listener_ = listener; }

  KvCache make_cache(std::int64_t capacity, DType dtype) const;

  /// [1, T, H]
  Tensor embedding(std::span<const std::int32_t> ids, DType dtype) const;

  /// Appends `ids` to the sequence (within the cache's capacity; every id within the vocabulary)
  /// and gives the logits of the last one: host f32 [V].
  Tensor forward(std::span<const std::int32_t> ids, KvCache& cache, Trace* trace = nullptr) const;

 private:
  Backend& ops_;
  MinistralConfig config_;
  LayerListener* listener_ = nullptr;
  WeightHandle embed_tokens_;  // [V, H]
  std::vector<MinistralLayer> layers_;
  WeightHandle norm_;  // [H]
  Linear lm_head_;     // [V, H]
};

}  // namespace ernie_image
