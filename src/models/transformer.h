// ERNIE-Image's single-stream diffusion transformer.
// Reference: diffusers transformer_ernie_image.py, ErnieImageTransformer2DModel.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/collective.h"
#include "core/trace.h"
#include "io/json_reader.h"
#include "nn/linear.h"
#include "nn/tap.h"

namespace ernie_image {

/// transformer/config.json; the initial values are the class defaults of the reference.
struct TransformerConfig {
  std::int64_t hidden_size = 3072;
  std::int64_t num_attention_heads = 24;
  std::int64_t num_layers = 24;
  std::int64_t ffn_hidden_size = 8192;
  std::int64_t in_channels = 128;
  std::int64_t out_channels = 128;
  std::int64_t text_in_dim = 2560;
  double rope_theta = 256;
  std::array<int, 3> rope_axes_dim = {32, 48, 48};
  double eps = 1e-6;
  bool qk_layernorm = true;

  std::int64_t head_dim() const { return hidden_size / num_attention_heads; }

  /// Throws Error(corrupt_file | unsupported).
  static TransformerConfig read(const JsonReader& reader);
};

/// What stays the same through all steps of a request: the prompts and the image grid.
struct TransformerContext {
  Tensor text;  ///< projected text tokens [B, T, H], padded with zero rows
  RotaryTable rotary;
  AttentionMask mask;
  std::int64_t latent_height = 0;
  std::int64_t latent_width = 0;
  Collective* group = nullptr;  ///< see Transformer::share_tokens
};

/// One vector of the shared modulation per batch row, each [B, H].
struct Modulation {
  Tensor table;  ///< [B, 6 H]

  // Each refers to the table, and lives no longer.
  Chunk shift_msa() const { return {table, 0}; }
  Chunk scale_msa() const { return {table, 1}; }
  Chunk gate_msa() const { return {table, 2}; }
  Chunk shift_mlp() const { return {table, 3}; }
  Chunk scale_mlp() const { return {table, 4}; }
  Chunk gate_mlp() const { return {table, 5}; }
};

/// One single-stream block over [image tokens, text tokens].
class TransformerBlock {
 public:
  TransformerBlock(const WeightLoader& loader, const TransformerConfig& config);

  /// `name`: of the block, "layers.0."
  void visit(const std::string& name, ModuleVisitor& visitor);

  /// hidden_states: [B, S, H].
  Tensor forward(Backend& ops, const Tensor& hidden_states, const Modulation& modulation,
                 const TransformerContext& context, const Tap& tap) const;

 private:
  Tensor self_attention(Backend& ops, const Tensor& hidden_states,
                        const TransformerContext& context, const Tap& tap) const;
  Tensor mlp(Backend& ops, const Tensor& hidden_states) const;

  std::shared_ptr<const SplitWeights> split_;
  std::int64_t num_heads_;  // of this card
  std::int64_t head_dim_;
  float eps_;
  WeightHandle adaln_sa_ln_, adaln_mlp_ln_;  // [H]
  Linear to_q_, to_k_, to_v_, to_out_;       // [H, H], or a share, as of those below
  WeightHandle norm_q_, norm_k_;             // [head_dim]; null without qk_layernorm
  Linear gate_proj_, up_proj_;               // [F, H]
  Linear linear_fc2_;                        // [H, F]
};

class Transformer {
 public:
  /// `quantization` is that of the linear layers of the blocks; the few others (embedders, time,
  /// modulation, final layers) stay as the file has them. Of their weights this card has `share`.
  /// Throws Error(unsupported) if heads or feed-forward layers cannot be shared out.
  Transformer(Backend& ops, WeightSource& source, const TransformerConfig& config,
              Quantization quantization = Quantization::none, const WeightShare& share = {});

  /// Layer i has the weights whose names begin with this and "i.".
  static constexpr std::string_view kLayerPrefix = "layers.";

  const TransformerConfig& config() const { return config_; }

  /// Told of every layer of `forward` from now on; null for nobody.
  void set_layer_listener(LayerListener* listener) { listener_ = listener; }

  /// Offers every part that adapters may change.
  void visit(ModuleVisitor& visitor);

  /// text: [B, T, text_in_dim], row b valid up to text_lens[b] and zero beyond.
  TransformerContext prepare(const Tensor& text, std::span<const std::int64_t> text_lens,
                             std::int64_t latent_height, std::int64_t latent_width,
                             Trace* trace) const;

  /// Among whom the tokens of pictures are shared out from the next `prepare` on; null: this card
  /// has all. As many cards can be that as divide `num_attention_heads`.
  void share_tokens(Collective* group) { group_ = group; }

  /// Among whom the weights are shared out.
  void sum_over(Collective* group) { split_->sum_over(group); }

  /// Velocity [B, C_out, h, w] of latents [B, C, h, w] at timesteps [B] in 0..1000 (already rounded
  /// to the model dtype).
  Tensor forward(const Tensor& latents, std::span<const float> timesteps,
                 const TransformerContext& context, Trace* trace) const;

 private:
  /// time_proj: f32 [B, H], timestep_embedding; `is_same`: all its rows are equal.
  Tensor time_embedding(const Tensor& time_proj, bool is_same, DType dtype, const Tap& tap) const;
  Tensor project_text(const Tensor& text, std::span<const std::int64_t> lengths) const;
  Tensor of_each_row(const Linear& layer, const Tensor& rows, bool is_same) const;
  /// All of `forward` that happens on the device.
  Tensor velocity(const Tensor& latents, const Tensor& time_proj, bool is_same,
                  const TransformerContext& context, const Tap& tap) const;

  Backend& ops_;
  TransformerConfig config_;
  LayerListener* listener_ = nullptr;
  Collective* group_ = nullptr;
  std::shared_ptr<SplitWeights> split_;
  Linear x_embedder_;                     // [H, C]
  Linear text_proj_;                      // [H, text_in_dim]; null weight when the widths are equal
  Linear time_linear_1_, time_linear_2_;  // [H, H]
  Linear adaln_modulation_;               // [6 H, H]
  std::vector<TransformerBlock> blocks_;
  Linear final_norm_;    // [2 H, H]: scale, shift
  Linear final_linear_;  // [C_out, H]
};

/// Sinusoidal embedding [timesteps, H]: sin(t f_k) for k < H/2, then cos(t f_k), f_k = 10000^(-k /
/// (H/2)), in float.
Tensor timestep_embedding(std::span<const float> timesteps, std::int64_t hidden_size);

}  // namespace ernie_image
