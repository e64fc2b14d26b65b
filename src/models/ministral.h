// The Ministral-3 decoder: grouped-query attention, YaRN rotary positions, SwiGLU.
// Reference: transformers modeling_ministral3.py.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "io/json_reader.h"
#include "nn/linear.h"
#include "nn/rotary.h"
#include "nn/tap.h"

namespace ernie_image {

/// The text part of text_encoder/config.json, or pe/config.json; the initial values are the class
/// defaults.
struct MinistralConfig {
  std::int64_t vocab_size = 131072;
  std::int64_t hidden_size = 4096;
  std::int64_t intermediate_size = 14336;
  std::int64_t num_hidden_layers = 34;
  std::int64_t num_attention_heads = 32;
  std::int64_t num_key_value_heads = 8;
  std::int64_t head_dim = 128;
  std::int64_t max_position_embeddings = 262144;
  double rms_norm_eps = 1e-5;
  RopeParameters rope;

  /// Reads the object itself, or its `text_config` if it has one. Throws Error(corrupt_file |
  /// unsupported).
  static MinistralConfig read(const JsonReader& reader);
};

/// The rotary tables of one run of consecutive positions; queries carry the llama-4 scale.
struct MinistralPositions {
  RotaryTable query;
  RotaryTable key;
};

MinistralPositions make_ministral_positions(Backend& ops, const MinistralConfig& config,
                                            std::int64_t first_position, std::int64_t count,
                                            DType dtype);

/// Rotated keys and values of one layer for the tokens so far: [capacity, kv_heads, D], filled up
/// to `length`.
struct LayerCache {
  Tensor key;
  Tensor value;
  std::int64_t length = 0;
};

class MinistralLayer {
 public:
  MinistralLayer(const WeightLoader& loader, const MinistralConfig& config);

  /// Offers every part that adapters may change. `name`: of the layer, "layers.0."
  void visit(const std::string& name, ModuleVisitor& visitor);

  /// hidden_states: [B, T, H], causal within the T tokens. With a `cache` (B = 1 only), the T
  /// tokens follow those in it, see them too, and are appended.
  Tensor forward(Backend& ops, const Tensor& hidden_states, const MinistralPositions& positions,
                 const Tap& tap, LayerCache* cache = nullptr) const;

 private:
  Tensor self_attention(Backend& ops, const Tensor& hidden_states,
                        const MinistralPositions& positions, const Tap& tap,
                        LayerCache* cache) const;

  std::shared_ptr<const SplitWeights> split_;
  std::int64_t num_heads_, num_kv_heads_;  // of this card
  std::int64_t head_dim_;
  float eps_;
  WeightHandle input_layernorm_, post_attention_layernorm_;  // [H]
  Linear q_proj_;                                            // [heads * D, H]
  Linear k_proj_, v_proj_;                                   // [kv_heads * D, H]
  Linear o_proj_;                                            // [H, heads * D]
  Linear gate_proj_, up_proj_;                               // [F, H]
  Linear down_proj_;                                         // [H, F]
};

}  // namespace ernie_image
