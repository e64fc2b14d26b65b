// The text encoder: Ministral-3 up to hidden_states[-2], the output of the last layer but one,
// without the final norm. Reference: diffusers pipeline_ernie_image.py, encode_prompt; transformers
// Mistral3Model.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "core/trace.h"
#include "models/ministral.h"

namespace ernie_image {

class TextEncoder {
 public:
  /// Weight names may begin with "language_model.model.", "language_model.", "model." or nothing.
  /// Of the layers' weights this card has `share`. Throws Error(unsupported) if heads or
  /// feed-forward layers cannot be shared out.
  TextEncoder(Backend& ops, WeightSource& source, const MinistralConfig& config,
              const WeightShare& share = {});

  /// What the names of its weights begin with.
  static std::string name_prefix(const WeightSource& source);

  /// Layer i has the weights whose names begin with this and "i.".
  static std::string layer_prefix(const WeightSource& source);

  const MinistralConfig& config() const { return config_; }

  /// The last layer's output is not read, so it is left out.
  static std::int64_t layers_used(const MinistralConfig& config) {
    return config.num_hidden_layers - 1;
  }

  /// Told of every layer of `forward` from now on; null for nobody.
  void set_layer_listener(LayerListener* listener) { listener_ = listener; }

  /// Among whom the weights are shared out.
  void sum_over(Collective* group) { split_->sum_over(group); }

  /// Offers every part that adapters may change; names are those of the checkpoint without its
  /// prefix.
  void visit(ModuleVisitor& visitor);

  /// ids: T >= 1 tokens of one prompt, causal, no padding. Result: [T, H] in `dtype`.
  /// Throws Error(invalid_argument) for an id beyond the vocabulary.
  Tensor forward(std::span<const std::int32_t> ids, DType dtype, Trace* trace) const;

 private:
  Backend& ops_;
  MinistralConfig config_;
  LayerListener* listener_ = nullptr;
  std::shared_ptr<SplitWeights> split_;
  WeightHandle embed_tokens_;  // [V, H]
  std::shared_ptr<const EmbeddingAdapter> embedding_adapter_;
  std::vector<MinistralLayer> layers_;  // all but the last, whose output nobody reads
};

}  // namespace ernie_image
