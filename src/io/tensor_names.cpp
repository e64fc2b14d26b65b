#include "io/tensor_names.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

namespace ernie_image {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// What precedes "<stem><number><ending>" in `name`, if it ends so.
std::optional<std::string_view> before_layer(std::string_view name, std::string_view stem,
                                             std::string_view ending) {
  if (!name.ends_with(ending)) return std::nullopt;
  std::string_view rest = name.substr(0, name.size() - ending.size());
  const std::size_t digits = rest.find_last_not_of("0123456789");
  const std::size_t begin = digits == std::string_view::npos ? 0 : digits + 1;
  if (begin == rest.size()) return std::nullopt;
  rest = rest.substr(0, begin);
  if (!rest.ends_with(stem)) return std::nullopt;
  rest.remove_suffix(stem.size());
  if (!rest.empty() && !rest.ends_with('.')) return std::nullopt;
  return rest;
}

std::optional<std::string_view> before(std::string_view name, std::string_view ending) {
  if (!name.ends_with(ending)) return std::nullopt;
  const std::string_view rest = name.substr(0, name.size() - ending.size());
  if (!rest.empty() && !rest.ends_with('.')) return std::nullopt;
  return rest;
}

Component language_component(std::string_view prefix) {
  return prefix == "pe." || has(prefix, ".pe.") || prefix.starts_with("pe.") ||
                 has(prefix, "enhancer")
             ? Component::pe
             : Component::text_encoder;
}

/// Vectors that are never quantised away, whose names no other model of this kind has.
std::optional<NamedComponent> component_of(std::string_view name) {
  if (const auto prefix = before_layer(name, "layers.", ".adaLN_sa_ln.weight"))
    return NamedComponent{Component::transformer, Dialect::diffusers, std::string(*prefix)};
  if (has(name, "vision")) return std::nullopt;
  if (const auto prefix = before_layer(name, "layers.", ".post_attention_layernorm.weight"))
    return NamedComponent{language_component(*prefix), Dialect::diffusers, std::string(*prefix)};
  if (const auto prefix = before_layer(name, "blk.", ".attn_norm.weight"))
    return NamedComponent{language_component(*prefix), Dialect::llama_cpp, std::string(*prefix)};
  if (const auto prefix = before(name, "decoder.mid_block.resnets.0.norm1.weight"))
    return NamedComponent{Component::vae, Dialect::diffusers, std::string(*prefix)};
  if (const auto prefix = before(name, "decoder.mid.block_1.norm1.weight"))
    return NamedComponent{Component::vae, Dialect::black_forest, std::string(*prefix)};
  return std::nullopt;
}

// ---- llama.cpp
// -----------------------------------------------------------------------------------

constexpr std::array kLlamaLayer = {
    Pair{"attn_norm", "input_layernorm"},    Pair{"attn_q", "self_attn.q_proj"},
    Pair{"attn_k", "self_attn.k_proj"},      Pair{"attn_v", "self_attn.v_proj"},
    Pair{"attn_output", "self_attn.o_proj"}, Pair{"ffn_norm", "post_attention_layernorm"},
    Pair{"ffn_gate", "mlp.gate_proj"},       Pair{"ffn_up", "mlp.up_proj"},
    Pair{"ffn_down", "mlp.down_proj"}};

constexpr std::array kLlamaModel = {Pair{"token_embd", "embed_tokens"},
                                    Pair{"output_norm", "norm"}};

std::optional<std::string> from_llama(std::string_view name, std::string_view model) {
  const std::string prefix(model);
  if (name == "output.weight") return std::string("lm_head.weight");
  for (const auto& [theirs, ours] : kLlamaModel) {
    if (name.starts_with(theirs) && name.substr(theirs.size()).starts_with('.'))
      return prefix + std::string(ours) + std::string(name.substr(theirs.size()));
  }
  if (!name.starts_with("blk.")) return std::nullopt;
  const std::size_t dot = name.find('.', 4);
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view rest = name.substr(dot + 1);
  for (const auto& [theirs, ours] : kLlamaLayer) {
    if (rest.starts_with(theirs) && rest.substr(theirs.size()).starts_with('.')) {
      return prefix + "layers." + std::string(name.substr(4, dot - 4)) + "." + std::string(ours) +
             std::string(rest.substr(theirs.size()));
    }
  }
  return std::nullopt;
}

// ---- the VAE's own names
// -------------------------------------------------------------------------

bool replace_front(std::string& text, std::string_view from, std::string_view to) {
  if (!text.starts_with(from)) return false;
  text.replace(0, from.size(), to);
  return true;
}

constexpr std::array kBlackForestPart = {
    Pair{"mid.block_1.", "mid_block.resnets.0."},
    Pair{"mid.block_2.", "mid_block.resnets.1."},
    Pair{"mid.attn_1.norm.", "mid_block.attentions.0.group_norm."},
    Pair{"mid.attn_1.q.", "mid_block.attentions.0.to_q."},
    Pair{"mid.attn_1.k.", "mid_block.attentions.0.to_k."},
    Pair{"mid.attn_1.v.", "mid_block.attentions.0.to_v."},
    Pair{"mid.attn_1.proj_out.", "mid_block.attentions.0.to_out.0."},
    Pair{"norm_out.", "conv_norm_out."}};

/// Within "encoder." or "decoder.", or at the top.
std::string from_black_forest_part(std::string rest, bool decoder, int levels) {
  for (const auto& [theirs, ours] : kBlackForestPart) {
    if (replace_front(rest, theirs, ours)) break;
  }
  const std::string_view stem = decoder ? "up." : "down.";
  if (rest.starts_with(stem) && rest.size() > stem.size() + 1 &&
      std::isdigit(static_cast<unsigned char>(rest[stem.size()])) != 0 &&
      rest[stem.size() + 1] == '.') {
    const int level = rest[stem.size()] - '0';
    const std::string block = std::string(decoder ? "up" : "down") + "_blocks." +
                              std::to_string(decoder ? levels - 1 - level : level) + ".";
    rest = rest.substr(stem.size() + 2);
    replace_front(rest, "block.", "resnets.");
    replace_front(rest, "upsample.", "upsamplers.0.");
    replace_front(rest, "downsample.", "downsamplers.0.");
    rest = block + rest;
  }
  if (const std::size_t at = rest.find("nin_shortcut"); at != std::string::npos)
    rest.replace(at, 12, "conv_shortcut");
  return rest;
}

/// The reverse, within "encoder." or "decoder.".
std::string to_black_forest_part(std::string rest, int levels) {
  for (const auto& [theirs, ours] : kBlackForestPart) {
    if (replace_front(rest, ours, theirs)) break;
  }
  for (const std::string_view stem : {"up", "down"}) {
    const std::string blocks = std::string(stem) + "_blocks.";
    if (!rest.starts_with(blocks) || rest.size() < blocks.size() + 2) continue;
    const int index = rest[blocks.size()] - '0';
    const int level = stem == "up" ? levels - 1 - index : index;
    rest = rest.substr(blocks.size() + 2);
    replace_front(rest, "resnets.", "block.");
    replace_front(rest, "upsamplers.0.", "upsample.");
    replace_front(rest, "downsamplers.0.", "downsample.");
    rest = std::string(stem) + "." + std::to_string(level) + "." + rest;
  }
  if (const std::size_t at = rest.find("conv_shortcut"); at != std::string::npos)
    rest.replace(at, 13, "nin_shortcut");
  return rest;
}

std::string from_black_forest(std::string_view name, int levels) {
  for (const std::string_view part : {"encoder.", "decoder."}) {
    if (!name.starts_with(part)) continue;
    std::string rest(name.substr(part.size()));
    if (rest.starts_with("quant_conv.") || rest.starts_with("post_quant_conv.")) return rest;
    return std::string(part) + from_black_forest_part(rest, part == "decoder.", levels);
  }
  return std::string(name);
}

// ---- other models
// --------------------------------------------------------------------------------

struct Foreign {
  std::string_view part;   // of a name
  std::string_view other;  // of another name of the same file, or ""
  std::string_view model;
};

constexpr std::array kForeign = {
    Foreign{"double_stream_modulation_img", "", "FLUX.2"},
    Foreign{"single_stream_modulation", "", "FLUX.2"},
    Foreign{"double_blocks.", "vector_in.", "FLUX.1"},
    Foreign{"double_blocks.", "guidance_in.", "FLUX.1"},
    Foreign{"single_transformer_blocks.", "time_text_embed.text_embedder", "FLUX.1"},
    Foreign{"double_blocks.", "", "FLUX or HunyuanVideo"},
    Foreign{"single_transformer_blocks.", "", "FLUX"},
    Foreign{"cap_embedder.", "context_refiner.", "Z-Image or Lumina"},
    Foreign{"transformer_blocks.", "txt_norm.", "Qwen-Image"},
    Foreign{"transformer_blocks.", "img_mod.1.", "Qwen-Image"},
    Foreign{"joint_blocks.", "", "Stable Diffusion 3"},
    Foreign{"patch_embedding.", "cross_attn.", "Wan"},
    Foreign{"input_blocks.", "label_emb.", "Stable Diffusion XL"},
    Foreign{"input_blocks.", "", "Stable Diffusion"},
    Foreign{"down_blocks.0.attentions.", "time_embedding.", "Stable Diffusion"},
    Foreign{"caption_projection.", "", "PixArt or a like model"},
    Foreign{"text_model.encoder.layers.", "", "CLIP, a text encoder"},
    Foreign{"encoder.block.0.layer.", "", "T5, a text encoder"},
    Foreign{"self_attn.q_norm.", "", "Qwen3, a text encoder"},
};

constexpr std::array<std::string_view, 9> kAdapterParts = {".lora_A", ".lora_B",   "lora_down",
                                                           "lora_up", "lora.down", "lora.up",
                                                           "lokr_w",  "hada_w",    ".lora_mid"};

bool is_adapter(const std::vector<std::string>& names) {
  const auto count = std::ranges::count_if(names, [](const std::string& name) {
    return std::ranges::any_of(kAdapterParts,
                               [&](std::string_view part) { return has(name, part); });
  });
  return count > 0 && 4 * static_cast<std::size_t>(count) >= names.size();
}

}  // namespace

std::vector<NamedComponent> find_components(const std::vector<std::string>& names) {
  std::vector<NamedComponent> found;
  for (const std::string& name : names) {
    const auto component = component_of(name);
    const auto is_same = [&](const NamedComponent& other) {
      return other.component == component->component;
    };
    if (component && std::ranges::none_of(found, is_same)) found.push_back(*component);
  }
  std::ranges::sort(found, {}, &NamedComponent::component);
  return found;
}

std::optional<std::string> canonical_name(const NamedComponent& found, std::string_view name,
                                          int levels) {
  const bool language = is_language_model(found.component);
  const std::string model = found.component == Component::pe ? "model." : "language_model.";
  if (language && found.dialect == Dialect::diffusers && name.ends_with("lm_head.weight") &&
      found.prefix.starts_with(name.substr(0, name.size() - 14))) {
    return "lm_head.weight";
  }
  if (!name.starts_with(found.prefix)) return std::nullopt;
  const std::string_view rest = name.substr(found.prefix.size());
  switch (found.dialect) {
    case Dialect::llama_cpp:
      return from_llama(rest, model);
    case Dialect::black_forest:
      return from_black_forest(rest, levels);
    default:
      return language ? model + std::string(rest) : std::string(rest);
  }
}

std::optional<std::string> llama_name(std::string_view name) {
  if (name == "lm_head.weight") return std::string("output.weight");
  for (const auto& [theirs, ours] : kLlamaModel) {
    if (name.starts_with(ours) && name.substr(ours.size()).starts_with('.'))
      return std::string(theirs) + std::string(name.substr(ours.size()));
  }
  constexpr std::string_view kLayers = "layers.";
  if (!name.starts_with(kLayers)) return std::nullopt;
  const std::size_t dot = name.find('.', kLayers.size());
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view rest = name.substr(dot + 1);
  for (const auto& [theirs, ours] : kLlamaLayer) {
    if (rest.starts_with(ours) && rest.substr(ours.size()).starts_with('.')) {
      return "blk." + std::string(name.substr(kLayers.size(), dot - kLayers.size())) + "." +
             std::string(theirs) + std::string(rest.substr(ours.size()));
    }
  }
  return std::nullopt;
}

std::string black_forest_name(std::string_view name, int levels) {
  if (name.starts_with("quant_conv.")) return "encoder." + std::string(name);
  if (name.starts_with("post_quant_conv.")) return "decoder." + std::string(name);
  for (const std::string_view part : {"encoder.", "decoder."}) {
    if (name.starts_with(part)) {
      return std::string(part) +
             to_black_forest_part(std::string(name.substr(part.size())), levels);
    }
  }
  return std::string(name);
}

int count_levels(const NamedComponent& found, const std::vector<std::string>& names) {
  int levels = 0;
  const std::string stem = found.prefix + "decoder.up.";
  for (const std::string& name : names) {
    if (!name.starts_with(stem) || name.size() < stem.size() + 2) continue;
    const char digit = name[stem.size()];
    if (digit >= '0' && digit <= '9' && name[stem.size() + 1] == '.')
      levels = std::max(levels, digit - '0' + 1);
  }
  return levels;
}

std::string foreign_model(const std::vector<std::string>& names) {
  if (is_adapter(names)) return "an adapter (a LoRA or the like), not a model; give it to --lora";
  const auto any = [&](std::string_view part) {
    return std::ranges::any_of(names, [&](const std::string& name) { return has(name, part); });
  };
  for (const Foreign& foreign : kForeign) {
    if (any(foreign.part) && (foreign.other.empty() || any(foreign.other)))
      return std::string(foreign.model);
  }
  return "";
}

}  // namespace ernie_image
