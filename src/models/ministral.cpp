#include "models/ministral.h"

#include <cmath>
#include <string>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::int64_t kMaxSize = 1 << 20;

double yarn_mscale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

/// Given, or else the ratio of the two mscales, or else mscale(factor).
double attention_factor(const JsonReader& reader, double factor) {
  const double mscale = reader.number("mscale", 0);
  const double mscale_all_dim = reader.number("mscale_all_dim", 0);
  const double ratio = mscale != 0 && mscale_all_dim != 0
                           ? yarn_mscale(factor, mscale) / yarn_mscale(factor, mscale_all_dim)
                           : yarn_mscale(factor, 1.0);
  return reader.number("attention_factor", ratio);
}

RopeParameters read_rope(const JsonReader& reader, std::int64_t max_position_embeddings) {
  RopeParameters rope;
  rope.theta = reader.number("rope_theta", rope.theta);
  const std::string type = reader.text("rope_type", reader.text("type", "default"));
  if (type != "yarn" && type != "default") {
    throw Error(ErrorKind::unsupported, reader.where() + ": rope_type \"" + type +
                                            "\" is not supported; yarn and default are");
  }
  rope.yarn = type == "yarn";
  const std::int64_t original = reader.integer("original_max_position_embeddings",
                                               max_position_embeddings, 1, std::int64_t{1} << 31);
  rope.original_max_position_embeddings = original;
  rope.llama_4_scaling_beta = reader.number("llama_4_scaling_beta", 0);
  if (rope.yarn) {
    rope.factor = reader.number(
        "factor", static_cast<double>(max_position_embeddings) / static_cast<double>(original));
    rope.beta_fast = reader.number("beta_fast", rope.beta_fast);
    rope.beta_slow = reader.number("beta_slow", rope.beta_slow);
    rope.truncate = reader.boolean("truncate", true);
    rope.attention_factor = attention_factor(reader, rope.factor);
  }
  if (!(rope.theta > 1) || !(rope.factor > 0) || !(rope.beta_fast > 0) || !(rope.beta_slow > 0)) {
    throw Error(
        ErrorKind::corrupt_file,
        reader.where() + ": rope_theta must be above 1, factor, beta_fast and beta_slow above 0");
  }
  return rope;
}

/// What the reference fills in when a config has no rope_parameters at all.
RopeParameters default_rope() {
  RopeParameters rope;
  rope.llama_4_scaling_beta = 0.1;
  return rope;
}

void check(const MinistralConfig& config, const JsonReader& reader) {
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    throw Error(ErrorKind::corrupt_file, reader.where() + ": num_attention_heads " +
                                             std::to_string(config.num_attention_heads) +
                                             " does not divide by num_key_value_heads " +
                                             std::to_string(config.num_key_value_heads));
  }
  if (config.head_dim % 2 != 0) {
    throw Error(ErrorKind::corrupt_file, reader.where() + ": head_dim must be even, found " +
                                             std::to_string(config.head_dim));
  }
  if (const std::string activation = reader.text("hidden_act", "silu"); activation != "silu") {
    throw Error(ErrorKind::unsupported,
                reader.where() + ": hidden_act \"" + activation + "\" is not supported; silu is");
  }
  if (reader.has("sliding_window")) {
    throw Error(ErrorKind::unsupported,
                reader.where() + ": sliding_window attention is not supported; expected null");
  }
}

}  // namespace

MinistralConfig MinistralConfig::read(const JsonReader& outer) {
  const JsonReader reader = outer.object("text_config").value_or(outer);
  if (const std::string type = reader.text("model_type", "ministral3"); type != "ministral3") {
    throw Error(ErrorKind::unsupported,
                reader.where() + ": model_type \"" + type + "\" is not supported; ministral3 is");
  }
  MinistralConfig config;
  config.vocab_size = reader.integer("vocab_size", config.vocab_size, 1, 1 << 24);
  config.hidden_size = reader.integer("hidden_size", config.hidden_size, 1, kMaxSize);
  config.intermediate_size =
      reader.integer("intermediate_size", config.intermediate_size, 1, kMaxSize);
  config.num_hidden_layers = reader.integer("num_hidden_layers", config.num_hidden_layers, 1, 4096);
  config.num_attention_heads =
      reader.integer("num_attention_heads", config.num_attention_heads, 1, kMaxSize);
  config.num_key_value_heads =
      reader.integer("num_key_value_heads", config.num_key_value_heads, 1, kMaxSize);
  config.head_dim = reader.integer("head_dim", config.head_dim, 2, kMaxSize);
  config.max_position_embeddings = reader.integer(
      "max_position_embeddings", config.max_position_embeddings, 1, std::int64_t{1} << 31);
  config.rms_norm_eps = reader.number("rms_norm_eps", config.rms_norm_eps);
  const auto rope = reader.has("rope_parameters") ? reader.object("rope_parameters")
                                                  : reader.object("rope_scaling");
  config.rope = rope ? read_rope(*rope, config.max_position_embeddings) : default_rope();
  check(config, reader);
  return config;
}

MinistralPositions make_ministral_positions(Backend& ops, const MinistralConfig& config,
                                            std::int64_t first_position, std::int64_t count,
                                            DType dtype) {
  const auto scale = static_cast<float>(config.rope.attention_factor);
  const Tensor angles = yarn_rope_angles(config.rope, config.head_dim, first_position, count);
  MinistralPositions positions;
  positions.key = make_rotary_table(ops, angles, scale, dtype);
  positions.query = positions.key;
  if (config.rope.llama_4_scaling_beta != 0) {
    const Tensor query_scale = llama_4_query_scale(config.rope, first_position, count);
    positions.query = make_rotary_table(ops, angles, scale, dtype, query_scale);
  }
  return positions;
}

MinistralLayer::MinistralLayer(const WeightLoader& loader, const MinistralConfig& config)
    : split_(loader.split()),
      num_heads_(split_->share().of(config.num_attention_heads)),
      num_kv_heads_(split_->share().of(config.num_key_value_heads)),
      head_dim_(config.head_dim),
      eps_(static_cast<float>(config.rms_norm_eps)) {
  const std::int64_t hidden = config.hidden_size;
  input_layernorm_ = loader.vector("input_layernorm.weight", hidden);
  post_attention_layernorm_ = loader.vector("post_attention_layernorm.weight", hidden);
  const WeightLoader attention = loader.at("self_attn");
  const std::int64_t query = config.num_attention_heads * head_dim_;
  const std::int64_t key_value = config.num_key_value_heads * head_dim_;
  q_proj_ = load_share(attention, "q_proj", WeightPart::rows, query, hidden);
  k_proj_ = load_share(attention, "k_proj", WeightPart::rows, key_value, hidden);
  v_proj_ = load_share(attention, "v_proj", WeightPart::rows, key_value, hidden);
  o_proj_ = load_share(attention, "o_proj", WeightPart::columns, hidden, query);
  const WeightLoader mlp = loader.at("mlp");
  const std::int64_t ffn = config.intermediate_size;
  gate_proj_ = load_share(mlp, "gate_proj", WeightPart::rows, ffn, hidden);
  up_proj_ = load_share(mlp, "up_proj", WeightPart::rows, ffn, hidden);
  down_proj_ = load_share(mlp, "down_proj", WeightPart::columns, hidden, ffn);
}

void MinistralLayer::visit(const std::string& name, ModuleVisitor& visitor) {
  visitor.vector(name + "input_layernorm", input_layernorm_);
  visitor.vector(name + "post_attention_layernorm", post_attention_layernorm_);
  visitor.linear(name + "self_attn.q_proj", q_proj_);
  visitor.linear(name + "self_attn.k_proj", k_proj_);
  visitor.linear(name + "self_attn.v_proj", v_proj_);
  visitor.linear(name + "self_attn.o_proj", o_proj_);
  visitor.linear(name + "mlp.gate_proj", gate_proj_);
  visitor.linear(name + "mlp.up_proj", up_proj_);
  visitor.linear(name + "mlp.down_proj", down_proj_);
}

Tensor MinistralLayer::forward(Backend& ops, const Tensor& hidden_states,
                               const MinistralPositions& positions, const Tap& tap,
                               LayerCache* cache) const {
  Tensor h = ops.rms_norm(hidden_states, *input_layernorm_, eps_);
  h = self_attention(ops, h, positions, tap, cache);
  const Tensor x = ops.add(hidden_states, h);

  h = ops.rms_norm(x, *post_attention_layernorm_, eps_);
  const auto gate_up = linear_together(ops, h, {&gate_proj_, &up_proj_});
  h = split_->sum(ops, down_proj_(ops, ops.silu_mul(gate_up[0], gate_up[1])));
  Tensor output = ops.add(x, h);
  tap("layer_output", output);
  return output;
}

Tensor MinistralLayer::self_attention(Backend& ops, const Tensor& hidden_states,
                                      const MinistralPositions& positions, const Tap& tap,
                                      LayerCache* cache) const {
  const std::int64_t batch = hidden_states.dim(0);
  const std::int64_t tokens = hidden_states.dim(1);
  const auto qkv = linear_together(ops, hidden_states, {&q_proj_, &k_proj_, &v_proj_});
  const Shape kv_shape = {batch, tokens, num_kv_heads_, head_dim_};
  const Tensor query = ops.norm_rope(qkv[0].reshaped({batch, tokens, num_heads_, head_dim_}),
                                     nullptr, eps_, positions.query);
  Tensor key = ops.norm_rope(qkv[1].reshaped(kv_shape), nullptr, eps_, positions.key);
  Tensor value = qkv[2].reshaped(kv_shape);
  if (cache != nullptr) {
    ops.write_rows(cache->key, cache->length, key.reshaped({tokens, num_kv_heads_, head_dim_}));
    ops.write_rows(cache->value, cache->length, value.reshaped({tokens, num_kv_heads_, head_dim_}));
    cache->length += tokens;
    const Shape seen = {1, cache->length, num_kv_heads_, head_dim_};
    key = cache->key.slice(0, cache->length).reshaped(seen);
    value = cache->value.slice(0, cache->length).reshaped(seen);
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim_));
  const AttentionMask causal{AttentionMask::Kind::causal, {}};
  const Tensor attended = ops.attention(query, key, value, causal, scale);
  if (split_->share().is_all()) tap("attn_context", attended);
  return split_->sum(ops, o_proj_(ops, attended));
}

}  // namespace ernie_image
