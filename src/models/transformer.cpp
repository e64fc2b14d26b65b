#include "models/transformer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "models/quantized_weights.h"
#include "nn/rotary.h"
#include "nn/shared_tokens.h"

namespace ernie_image {
namespace {

constexpr std::int64_t kMaxWidth =
    1 << 20;  // no real width comes near; keeps products within 64 bits

/// Image tokens (own text length, y, x) first, then text tokens (index, 0, 0), padding included.
std::vector<Position3> token_positions(std::int64_t text_len, std::int64_t text_tokens,
                                       std::int64_t height, std::int64_t width) {
  std::vector<Position3> positions;
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      positions.push_back(
          {static_cast<float>(text_len), static_cast<float>(y), static_cast<float>(x)});
    }
  }
  for (std::int64_t i = 0; i < text_tokens; ++i)
    positions.push_back({static_cast<float>(i), 0.0f, 0.0f});
  return positions;
}

Tensor position_ids(const std::vector<std::vector<Position3>>& rows) {
  Tensor ids =
      Tensor::host(DType::f32, {std::int64_t(rows.size()), std::int64_t(rows[0].size()), 3});
  float* out = ids.data<float>();
  for (const auto& row : rows) {
    for (const Position3& position : row) out = std::copy(position.begin(), position.end(), out);
  }
  return ids;
}

/// bool [B, 1, 1, S], true = may be attended to: only for the trace, no kernel reads it.
Tensor attention_mask_tensor(std::span<const std::int64_t> text_lens, std::int64_t image_tokens,
                             std::int64_t tokens) {
  Tensor mask = Tensor::host(DType::boolean, {std::int64_t(text_lens.size()), 1, 1, tokens});
  for (std::size_t b = 0; b < text_lens.size(); ++b) {
    std::fill_n(mask.data<std::uint8_t>() + std::int64_t(b) * tokens, image_tokens + text_lens[b],
                std::uint8_t{1});
  }
  return mask;
}

AttentionMask key_length_mask(std::span<const std::int64_t> text_lens, std::int64_t image_tokens,
                              std::int64_t text_tokens) {
  if (std::ranges::all_of(text_lens, [&](std::int64_t length) { return length == text_tokens; }))
    return {};
  AttentionMask mask{AttentionMask::Kind::key_lengths, {}};
  for (const std::int64_t length : text_lens) mask.key_lengths.push_back(image_tokens + length);
  return mask;
}

bool are_equal(std::span<const float> values) {
  return std::ranges::all_of(values, [&](float value) { return value == values[0]; });
}

}  // namespace

TransformerConfig TransformerConfig::read(const JsonReader& reader) {
  TransformerConfig config;
  config.hidden_size = reader.integer("hidden_size", config.hidden_size, 1, kMaxWidth);
  config.num_attention_heads =
      reader.integer("num_attention_heads", config.num_attention_heads, 1, kMaxWidth);
  config.num_layers = reader.integer("num_layers", config.num_layers, 0, 4096);
  config.ffn_hidden_size = reader.integer("ffn_hidden_size", config.ffn_hidden_size, 1, kMaxWidth);
  config.in_channels = reader.integer("in_channels", config.in_channels, 1, kMaxWidth);
  config.out_channels = reader.integer("out_channels", config.out_channels, 1, kMaxWidth);
  config.text_in_dim = reader.integer("text_in_dim", config.text_in_dim, 1, kMaxWidth);
  config.rope_theta = reader.number("rope_theta", config.rope_theta);
  config.eps = reader.number("eps", config.eps);
  config.qk_layernorm = reader.boolean("qk_layernorm", config.qk_layernorm);
  const auto axes = reader.integers("rope_axes_dim", {32, 48, 48}, 2, kMaxWidth);
  if (axes.size() != 3)
    throw Error(ErrorKind::corrupt_file, reader.where() + ": rope_axes_dim has " +
                                             std::to_string(axes.size()) + " entries, expected 3");
  std::ranges::transform(axes, config.rope_axes_dim.begin(),
                         [](std::int64_t dim) { return static_cast<int>(dim); });

  if (reader.integer("patch_size", 1, 1, kMaxWidth) != 1) {
    throw Error(ErrorKind::unsupported, reader.where() + ": only patch_size 1 is supported");
  }
  if (config.hidden_size % config.num_attention_heads != 0) {
    throw Error(ErrorKind::corrupt_file, reader.where() + ": hidden_size " +
                                             std::to_string(config.hidden_size) +
                                             " does not divide by num_attention_heads " +
                                             std::to_string(config.num_attention_heads));
  }
  const std::int64_t rotated = axes[0] + axes[1] + axes[2];
  const bool even = std::ranges::all_of(axes, [](std::int64_t dim) { return dim % 2 == 0; });
  if (rotated != config.head_dim() || !even) {
    throw Error(ErrorKind::corrupt_file,
                reader.where() +
                    ": rope_axes_dim must be three even numbers that add up to the head size " +
                    std::to_string(config.head_dim()) + ", found a sum of " +
                    std::to_string(rotated));
  }
  if (config.hidden_size % 2 != 0) {
    throw Error(ErrorKind::corrupt_file, reader.where() + ": hidden_size must be even, found " +
                                             std::to_string(config.hidden_size));
  }
  if (!(config.rope_theta > 0) || !(config.eps > 0)) {
    throw Error(ErrorKind::corrupt_file, reader.where() + ": rope_theta and eps must be positive");
  }
  return config;
}

TransformerBlock::TransformerBlock(const WeightLoader& loader, const TransformerConfig& config)
    : split_(loader.split()),
      num_heads_(split_->share().of(config.num_attention_heads)),
      head_dim_(config.head_dim()),
      eps_(static_cast<float>(config.eps)) {
  const std::int64_t hidden = config.hidden_size;
  adaln_sa_ln_ = loader.vector("adaLN_sa_ln.weight", hidden);
  adaln_mlp_ln_ = loader.vector("adaLN_mlp_ln.weight", hidden);
  const WeightLoader attention = loader.at("self_attention");
  to_q_ = load_share(attention, "to_q", WeightPart::rows, hidden, hidden);
  to_k_ = load_share(attention, "to_k", WeightPart::rows, hidden, hidden);
  to_v_ = load_share(attention, "to_v", WeightPart::rows, hidden, hidden);
  to_out_ = load_share(attention, "to_out.0", WeightPart::columns, hidden, hidden);
  if (config.qk_layernorm) {
    norm_q_ = attention.vector("norm_q.weight", head_dim_);
    norm_k_ = attention.vector("norm_k.weight", head_dim_);
  }
  const WeightLoader mlp = loader.at("mlp");
  const std::int64_t ffn = config.ffn_hidden_size;
  gate_proj_ = load_share(mlp, "gate_proj", WeightPart::rows, ffn, hidden);
  up_proj_ = load_share(mlp, "up_proj", WeightPart::rows, ffn, hidden);
  linear_fc2_ = load_share(mlp, "linear_fc2", WeightPart::columns, hidden, ffn);
}

void TransformerBlock::visit(const std::string& name, ModuleVisitor& visitor) {
  visitor.vector(name + "adaLN_sa_ln", adaln_sa_ln_);
  visitor.vector(name + "adaLN_mlp_ln", adaln_mlp_ln_);
  const std::string attention = name + "self_attention.";
  visitor.linear(attention + "to_q", to_q_);
  visitor.linear(attention + "to_k", to_k_);
  visitor.linear(attention + "to_v", to_v_);
  visitor.linear(attention + "to_out.0", to_out_);
  if (norm_q_) visitor.vector(attention + "norm_q", norm_q_);
  if (norm_k_) visitor.vector(attention + "norm_k", norm_k_);
  visitor.linear(name + "mlp.gate_proj", gate_proj_);
  visitor.linear(name + "mlp.up_proj", up_proj_);
  visitor.linear(name + "mlp.linear_fc2", linear_fc2_);
}

Tensor TransformerBlock::forward(Backend& ops, const Tensor& hidden_states,
                                 const Modulation& modulation, const TransformerContext& context,
                                 const Tap& tap) const {
  tap.sequence_first("input", hidden_states);
  if (tap.wants("adaLN_sa_ln"))
    tap.sequence_first("adaLN_sa_ln", ops.rms_norm(hidden_states, *adaln_sa_ln_, eps_));

  Tensor h = ops.rms_norm_modulate(hidden_states, *adaln_sa_ln_, eps_, modulation.scale_msa(),
                                   modulation.shift_msa());
  h = self_attention(ops, h, context, tap);
  const Tensor x = ops.gated_add(hidden_states, modulation.gate_msa(), h);

  h = ops.rms_norm_modulate(x, *adaln_mlp_ln_, eps_, modulation.scale_mlp(),
                            modulation.shift_mlp());
  tap.sequence_first("mlp_input", h);
  h = mlp(ops, h);
  tap.sequence_first("mlp_out", h);
  Tensor output = ops.gated_add(x, modulation.gate_mlp(), h);
  tap.sequence_first("output", output);
  return output;
}

Tensor TransformerBlock::self_attention(Backend& ops, const Tensor& hidden_states,
                                        const TransformerContext& context, const Tap& tap) const {
  const Shape heads = {hidden_states.dim(0), hidden_states.dim(1), num_heads_, head_dim_};
  auto qkv = linear_together(ops, hidden_states, {&to_q_, &to_k_, &to_v_});
  tap("to_q", qkv[0]);
  // The reference's norm and rotation are one operation here; the trace wants the norm alone.
  for (const auto& [name, index, norm] :
       {std::tuple{"norm_q", 0, norm_q_.get()}, {"norm_k", 1, norm_k_.get()}}) {
    if (tap.wants(name))
      tap(name,
          ops.norm_rope(qkv[static_cast<std::size_t>(index)].reshaped(heads), norm, eps_, {}));
  }
  const Tensor query = ops.norm_rope(qkv[0].reshaped(heads), norm_q_.get(), eps_, context.rotary);
  const Tensor key = ops.norm_rope(qkv[1].reshaped(heads), norm_k_.get(), eps_, context.rotary);
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim_));
  const Tensor attended =
      shared_attention(ops, context.group, query, key, qkv[2].reshaped(heads), context.mask, scale);
  tap("attn_context", attended);
  Tensor out = split_->sum(ops, to_out_(ops, attended));
  tap("attn_out", out);
  return out;
}

Tensor TransformerBlock::mlp(Backend& ops, const Tensor& hidden_states) const {
  const auto gate_up = linear_together(ops, hidden_states, {&gate_proj_, &up_proj_});
  return split_->sum(ops, linear_fc2_(ops, ops.gelu_mul(gate_up[0], gate_up[1])));
}

Transformer::Transformer(Backend& ops, WeightSource& source, const TransformerConfig& config,
                         Quantization quantization, const WeightShare& share)
    : ops_(ops), config_(config), split_(std::make_shared<SplitWeights>(share)) {
  require_divides(share, config.num_attention_heads, "heads of the transformer");
  require_divides(share, config.ffn_hidden_size, "rows of the transformer's feed-forward layers");
  const WeightLoader loader =
      WeightLoader(ops, source, "", quantization, quantized_weights()).sharing(split_);
  const std::int64_t hidden = config.hidden_size;
  x_embedder_ = load_linear(loader.at("x_embedder"), "proj", hidden, config.in_channels, Bias::yes);
  if (config.text_in_dim != hidden)
    text_proj_ = load_linear(loader, "text_proj", hidden, config.text_in_dim);
  const WeightLoader time = loader.at("time_embedding");
  time_linear_1_ = load_linear(time, "linear_1", hidden, hidden, Bias::yes);
  time_linear_2_ = load_linear(time, "linear_2", hidden, hidden, Bias::yes);
  adaln_modulation_ = load_linear(loader, "adaLN_modulation.1", 6 * hidden, hidden, Bias::yes);
  for (std::int64_t i = 0; i < config.num_layers; ++i) {
    blocks_.emplace_back(loader.layer("layers", i), config);
  }
  final_norm_ = load_linear(loader.at("final_norm"), "linear", 2 * hidden, hidden, Bias::yes);
  final_linear_ = load_linear(loader, "final_linear", config.out_channels, hidden, Bias::yes);
}

void Transformer::visit(ModuleVisitor& visitor) {
  visitor.linear("x_embedder.proj", x_embedder_);
  if (text_proj_.weight) visitor.linear("text_proj", text_proj_);
  visitor.linear("time_embedding.linear_1", time_linear_1_);
  visitor.linear("time_embedding.linear_2", time_linear_2_);
  visitor.linear("adaLN_modulation.1", adaln_modulation_);
  for (std::size_t i = 0; i < blocks_.size(); ++i)
    blocks_[i].visit(std::string(kLayerPrefix) + std::to_string(i) + ".", visitor);
  visitor.linear("final_norm.linear", final_norm_);
  visitor.linear("final_linear", final_linear_);
}

/// [B, T, text_in_dim] to [B, T, H], each prompt alone: a product of few rows adds up in another
/// order than one of many, and no picture may depend on the prompts beside it.
Tensor Transformer::project_text(const Tensor& text, std::span<const std::int64_t> lengths) const {
  const std::int64_t batch = text.dim(0), longest = text.dim(1);
  const Tensor rows = text.reshaped({1, batch * longest, text.dim(2)});
  const Tensor zeros = ops_.upload(Tensor::host(text.dtype(), {1, longest, config_.hidden_size}));
  Tensor all;
  for (std::int64_t b = 0; b < batch; ++b) {
    const std::int64_t length = lengths[static_cast<std::size_t>(b)];
    Tensor row = text_proj_(ops_, ops_.slice_rows(rows, b * longest, length));
    if (length < longest) {
      row = ops_.concat_rows(row, ops_.slice_rows(zeros, 0, longest - length));
    }
    all = b == 0 ? row : ops_.concat_rows(all, row);
  }
  return all.reshaped({batch, longest, config_.hidden_size});
}

TransformerContext Transformer::prepare(const Tensor& text, std::span<const std::int64_t> text_lens,
                                        std::int64_t latent_height, std::int64_t latent_width,
                                        Trace* trace) const {
  const Tap tap(ops_, trace, "dit.");
  const std::int64_t image_tokens = latent_height * latent_width;
  const std::int64_t tokens = image_tokens + text.dim(1);
  const std::int64_t padding = shareable_tokens(group_, tokens) - tokens;
  const std::int64_t text_tokens = text.dim(1) + padding;
  TransformerContext context;
  context.latent_height = latent_height;
  context.latent_width = latent_width;
  context.text = text;
  if (text_proj_.weight) {
    context.text = project_text(text, text_lens);
    tap("text_proj", context.text);
  }
  if (padding > 0) {
    const Shape shape = {text.dim(0), padding, config_.hidden_size};
    context.text =
        ops_.concat_rows(context.text, ops_.upload(Tensor::host(context.text.dtype(), shape)));
  }
  context.mask = key_length_mask(text_lens, image_tokens, text_tokens);

  std::vector<std::vector<Position3>> positions;
  for (const std::int64_t length : text_lens) {
    positions.push_back(token_positions(length, text_tokens, latent_height, latent_width));
  }
  const auto theta = static_cast<float>(config_.rope_theta);
  if (trace != nullptr) {
    tap.host("position_ids", position_ids(positions));
    const Tensor angles = axes_rope_angles(positions, theta, config_.rope_axes_dim);
    tap.host("rope_angles", angles.reshaped({angles.dim(0), angles.dim(1), 1, angles.dim(2)}));
    tap.host("attention_mask",
             attention_mask_tensor(text_lens, image_tokens, image_tokens + text_tokens));
  }
  const bool have_equal_lengths =
      std::ranges::all_of(text_lens, [&](std::int64_t length) { return length == text_lens[0]; });
  if (have_equal_lengths) positions.resize(1);  // and so equal positions
  context.rotary = make_rotary_table(
      ops_, axes_rope_angles(positions, theta, config_.rope_axes_dim), 1.0f, text.dtype());
  context.rotary.cos = own_tokens(ops_, group_, context.rotary.cos);
  context.rotary.sin = own_tokens(ops_, group_, context.rotary.sin);
  context.group = group_;
  return context;
}

Tensor timestep_embedding(std::span<const float> timesteps, std::int64_t hidden_size) {
  const std::int64_t half = hidden_size / 2;
  Tensor embedding = Tensor::host(DType::f32, {std::int64_t(timesteps.size()), hidden_size});
  if (embedding.is_booked()) return embedding;
  float* row = embedding.data<float>();
  for (const float timestep : timesteps) {
    for (std::int64_t k = 0; k < half; ++k) {
      const float exponent = -std::log(10000.0f) * static_cast<float>(k) / static_cast<float>(half);
      const float angle = timestep * std::exp(exponent);
      row[k] = std::sin(angle);
      row[half + k] = std::cos(angle);
    }
    row += hidden_size;
  }
  return embedding;
}

/// `layer` of temb [B, H], all of one timestep if `is_same`. A product of one row adds up in
/// another order than one of several, and no picture may depend on how many are drawn beside it:
/// equal rows are computed once.
Tensor Transformer::of_each_row(const Linear& layer, const Tensor& rows, bool is_same) const {
  const std::int64_t count = rows.dim(0), width = rows.dim(1);
  if (!is_same || count == 1) return layer(ops_, rows);
  const Tensor first = ops_.slice_rows(rows.reshaped({1, count, width}), 0, 1).reshaped({1, width});
  const Tensor row = layer(ops_, first);
  const Tensor single = row.reshaped({1, 1, row.dim(1)});
  Tensor all = single;
  for (std::int64_t i = 1; i < count; ++i) all = ops_.concat_rows(all, single);
  return all.reshaped({count, row.dim(1)});
}

Tensor Transformer::forward(const Tensor& latents, std::span<const float> timesteps,
                            const TransformerContext& context, Trace* trace) const {
  const Tap tap(ops_, trace, "dit.");
  const Tensor time_proj = ops_.upload(timestep_embedding(timesteps, config_.hidden_size));
  tap("time_proj", time_proj);
  const bool is_same = are_equal(timesteps);
  const std::array inputs = {latents, time_proj};
  const auto step = [&](std::span<const Tensor> in) {
    return velocity(in[0], in[1], is_same, context, tap);
  };
  // A trace looks at every tensor; what cards send each other is not recorded.
  if (trace != nullptr || context.group != nullptr || !split_->share().is_all())
    return step(inputs);
  const std::array constants = {context.text, context.rotary.cos, context.rotary.sin};
  return ops_.repeat(inputs, constants, step);
}

Tensor Transformer::time_embedding(const Tensor& time_proj, bool is_same, DType dtype,
                                   const Tap& tap) const {
  const Tensor hidden = of_each_row(time_linear_1_, ops_.cast(time_proj, dtype), is_same);
  Tensor temb = of_each_row(time_linear_2_, ops_.silu(hidden), is_same);
  tap("time_embedding", temb);
  return temb;
}

Tensor Transformer::velocity(const Tensor& latents, const Tensor& time_proj, bool is_same,
                             const TransformerContext& context, const Tap& tap) const {
  const std::int64_t batch = latents.dim(0);
  const std::int64_t image_tokens = context.latent_height * context.latent_width;

  const Tensor channels = latents.reshaped({batch, config_.in_channels, image_tokens});
  const Tensor image = x_embedder_(ops_, ops_.transpose_rows(channels));  // [B, N, H]
  tap("x_embedder", image);
  // [B, N + T, H], or this card's share of the rows
  Tensor hidden_states = own_tokens(ops_, context.group, ops_.concat_rows(image, context.text));

  const Tensor temb = time_embedding(time_proj, is_same, latents.dtype(), tap);
  const Modulation modulation{of_each_row(adaln_modulation_, ops_.silu(temb), is_same)};
  tap("adaLN_modulation", modulation.table);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (listener_ != nullptr) listener_->before_layer(static_cast<std::int64_t>(i));
    hidden_states = blocks_[i].forward(ops_, hidden_states, modulation, context,
                                       tap.at("block" + std::to_string(i) + "."));
  }

  const Tensor scale_shift = of_each_row(final_norm_, temb, is_same);  // scale first, and no silu
  const auto eps = static_cast<float>(config_.eps);
  hidden_states =
      ops_.layer_norm_modulate(hidden_states, eps, Chunk{scale_shift, 0}, Chunk{scale_shift, 1});
  tap.sequence_first("final_norm", hidden_states);
  const Tensor patches = all_tokens(context.group, final_linear_(ops_, hidden_states));
  tap.sequence_first("final_linear", patches);
  const Tensor velocity =
      ops_.transpose_rows(ops_.slice_rows(patches, 0, image_tokens));  // [B, C_out, N]
  return velocity.reshaped(
      {batch, config_.out_channels, context.latent_height, context.latent_width});
}

}  // namespace ernie_image
