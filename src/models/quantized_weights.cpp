#include "models/quantized_weights.h"

namespace ernie_image {

const QuantizedWeights& quantized_weights() {
  // A text encoder is a part of a larger model in its checkpoint.
  static const QuantizedWeights rules = {.prefixes = {"language_model.", "model."},
                                         .layers = "layers.",
                                         .beyond_layers = {"lm_head.weight", "embed_tokens.weight"},
                                         .sensitive = {".to_v.weight", ".to_out.0.weight"},
                                         .plain_layers = 2,
                                         .table = "embed_tokens.weight"};
  return rules;
}

}  // namespace ernie_image
