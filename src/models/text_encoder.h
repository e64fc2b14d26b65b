// The text encoder: Ministral-3 up to hidden_states[-2], the output of the last layer but one,
// without the final norm. Reference: diffusers pipeline_ernie_image.py, encode_prompt; transformers
// Mistral3Model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "core/trace.h"
#include "models/ministral.h"

namespace ernie_image {

class TextEncoder {
 public:
  /// Weight names may begin with "language_model.model.", "language_model.", "model." or nothing.
  TextEncoder(Backend& ops, WeightSource& source, const MinistralConfig& config);

  const MinistralConfig& config() const { return config_; }

  /// ids: T >= 1 tokens of one prompt, causal, no padding. Result: [T, H] in `dtype`.
  /// Throws Error(invalid_argument) for an id beyond the vocabulary.
  Tensor forward(std::span<const std::int32_t> ids, DType dtype, Trace* trace) const;

 private:
  Backend& ops_;
  MinistralConfig config_;
  WeightHandle embed_tokens_;           // [V, H]
  std::vector<MinistralLayer> layers_;  // all but the last, whose output nobody reads
};

}  // namespace ernie_image
