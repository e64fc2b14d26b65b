#include "checkpoint/file_configs.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>

#include <nlohmann/json.hpp>

#include "ernie_image/error.h"
#include "io/file_view.h"
#include "io/gguf.h"
#include "io/json.h"

namespace ernie_image {
namespace {

using nlohmann::json;

/// Sizes that the tensors of a component tell, over those of a config.
class Shapes {
 public:
  Shapes(const WeightFiles& files, json& config, std::vector<std::string>& notes)
      : files_(files), config_(config), notes_(notes) {}

  /// Axis `axis` of a weight; nothing if it is not there or has no shape of its own.
  std::optional<std::int64_t> extent(const std::string& name, std::size_t axis) const {
    const Weight* weight = files_.find(name);
    if (weight == nullptr || weight->shape.size() <= axis) return std::nullopt;
    const bool vector = name.ends_with(".bias") || name.find("norm") != std::string::npos ||
                        name.find("_ln.") != std::string::npos;
    if (weight->shape.size() == 1 && !vector) return std::nullopt;  // groups without a shape
    return weight->shape[axis];
  }

  /// What the config says stays where the weight is encoded with rows or columns filled up.
  void set(const char* key, std::optional<std::int64_t> value, std::int64_t filled_up = 0) {
    if (!value) return;
    const auto found = config_.find(key);
    const bool known = found != config_.end() && found->is_number_integer();
    const std::int64_t said = known ? found->get<std::int64_t>() : 0;
    if (known && said <= *value && *value - said <= filled_up) return;
    notes_.push_back(std::string(key) + " " + std::to_string(*value) + " (from the shapes" +
                     (known ? "; the config has " + std::to_string(said) : "") + ")");
    config_[key] = *value;
  }

  void set_value(const char* key, const json& value) {
    const auto found = config_.find(key);
    if (found != config_.end() && *found == value) return;
    notes_.push_back(std::string(key) + " " + value.dump() + " (from the file)");
    config_[key] = value;
  }

  bool has(const std::string& name) const { return files_.contains(name); }

  /// How many layers "<prefix><n>." there are, which must be 0 to n - 1.
  std::int64_t layers(const std::string& prefix) const {
    std::set<std::int64_t> indices;
    for (const Weight& weight : files_.all()) {
      if (!weight.name.starts_with(prefix)) continue;
      std::int64_t index = -1;
      const char* begin = weight.name.data() + prefix.size();
      const auto [end, error] =
          std::from_chars(begin, weight.name.data() + weight.name.size(), index);
      if (error == std::errc() && index >= 0 && *end == '.') indices.insert(index);
    }
    const auto count = static_cast<std::int64_t>(indices.size());
    if (count > 0 && *indices.rbegin() != count - 1) {
      throw Error(ErrorKind::corrupt_file, files_.path() + ": has " + std::to_string(count) +
                                               " layers, the last being " + prefix +
                                               std::to_string(*indices.rbegin()) +
                                               ": some are missing; download the file again");
    }
    return count;
  }

 private:
  const WeightFiles& files_;
  json& config_;
  std::vector<std::string>& notes_;
};

constexpr std::int64_t kFilledUp =
    31;  // rows and columns of some formats are multiples of 16 or 32

std::int64_t sum_of(const json& array) {
  std::int64_t sum = 0;
  if (array.is_array()) {
    for (const json& value : array)
      sum += value.is_number_integer() ? value.get<std::int64_t>() : 0;
  }
  return sum;
}

void add_transformer_shapes(const WeightFiles& files, json& config,
                            std::vector<std::string>& notes) {
  Shapes shapes(files, config, notes);
  const auto hidden = shapes.extent("layers.0.adaLN_sa_ln.weight", 0);
  shapes.set("hidden_size", hidden);
  shapes.set("num_layers", shapes.layers("layers."));
  shapes.set("ffn_hidden_size", shapes.extent("layers.0.mlp.gate_proj.weight", 0), kFilledUp);
  shapes.set("in_channels", shapes.extent("x_embedder.proj.weight", 1), kFilledUp);
  shapes.set("out_channels", shapes.extent("final_linear.bias", 0));
  shapes.set("text_in_dim",
             shapes.has("text_proj.weight") ? shapes.extent("text_proj.weight", 1) : hidden,
             kFilledUp);
  const auto head = shapes.extent("layers.0.self_attention.norm_q.weight", 0);
  if (!head || !hidden || *head < 1) return;
  shapes.set("num_attention_heads", *hidden / *head);
  if (sum_of(config.value("rope_axes_dim", json())) == *head) return;
  // No file holds them. These are the released model's.
  config.erase("rope_axes_dim");
  if (*head != 32 + 48 + 48) {
    throw Error(ErrorKind::unsupported,
                files.path() + ": its heads are " + std::to_string(*head) +
                    " wide, but how they are divided among the rotary axes is in no file; put the "
                    "config.json of its transformer beside it");
  }
  notes.emplace_back("rope_axes_dim [32, 48, 48] (assumed: those of the released model)");
}

void add_vae_shapes(const WeightFiles& files, json& config, std::vector<std::string>& notes) {
  Shapes shapes(files, config, notes);
  shapes.set("latent_channels", shapes.extent("decoder.conv_in.weight", 1));
  const std::int64_t levels = shapes.layers("decoder.up_blocks.");
  json widths = json::array();
  for (std::int64_t level = levels; level-- > 0;) {
    const auto width =
        shapes.extent("decoder.up_blocks." + std::to_string(level) + ".resnets.0.conv1.weight", 0);
    if (!width) return;
    widths.push_back(*width);
  }
  const json said = config.value("decoder_block_out_channels", json());
  if (widths != (said.is_array() ? said : config.value("block_out_channels", json()))) {
    shapes.set_value("block_out_channels", widths);
    config.erase("decoder_block_out_channels");
  }
  if (levels > 0) shapes.set("layers_per_block", shapes.layers("decoder.up_blocks.0.resnets.") - 1);
  if (shapes.has("decoder.conv_in.weight")) {
    shapes.set_value("use_post_quant_conv", shapes.has("post_quant_conv.weight"));
    shapes.set_value("mid_block_add_attention",
                     shapes.has("decoder.mid_block.attentions.0.to_q.weight"));
  }
}

const GgufFile* gguf_of(const WeightFiles& files) {
  return dynamic_cast<const GgufFile*>(files.files().front().get());
}

/// What llama.cpp's converter keeps of the config.
void add_gguf_notes(const GgufFile& file, json& config) {
  const std::string prefix = file.text("general.architecture").value_or("") + ".";
  const auto number = [&](json& target, const char* key, const char* from) {
    if (const auto whole = file.integer(prefix + from)) {
      target[key] = *whole;
    } else if (const auto value = file.number(prefix + from)) {
      target[key] = *value;
    }
  };
  number(config, "num_attention_heads", "attention.head_count");
  number(config, "num_key_value_heads", "attention.head_count_kv");
  number(config, "head_dim", "attention.key_length");
  number(config, "rms_norm_eps", "attention.layer_norm_rms_epsilon");
  number(config, "max_position_embeddings", "context_length");
  json rope = json::object();
  number(rope, "rope_theta", "rope.freq_base");
  rope["rope_type"] = file.text(prefix + "rope.scaling.type") == "yarn" ? "yarn" : "default";
  number(rope, "factor", "rope.scaling.factor");
  number(rope, "original_max_position_embeddings", "rope.scaling.original_context_length");
  number(rope, "beta_fast", "rope.scaling.yarn_beta_fast");
  number(rope, "beta_slow", "rope.scaling.yarn_beta_slow");
  number(rope, "llama_4_scaling_beta", "attention.temperature_scale");
  if (rope["rope_type"] == "yarn") rope["mscale"] = rope["mscale_all_dim"] = 1.0;
  config["rope_parameters"] = rope;
}

std::string language_prefix(const WeightFiles& files) {
  for (const char* prefix : {"language_model.model.", "language_model.", "model.", ""}) {
    if (files.contains(std::string(prefix) + "embed_tokens.weight")) return prefix;
  }
  return "model.";
}

void add_language_shapes(const WeightFiles& files, json& outer, std::vector<std::string>& notes) {
  json config = outer.contains("text_config") && outer["text_config"].is_object()
                    ? outer["text_config"]
                    : outer;
  Shapes shapes(files, config, notes);
  const std::string prefix = language_prefix(files), layer = prefix + "layers.0.";
  const auto width = shapes.extent(layer + "input_layernorm.weight", 0);
  const auto ffn = shapes.extent(layer + "mlp.gate_proj.weight", 0);
  const auto said = [&](const char* key) {
    const auto found = config.find(key);
    return found != config.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
  };
  // Of another model than the base's only its own metadata knows the rotary constants.
  const GgufFile* gguf = gguf_of(files);
  const bool other =
      (width && *width != said("hidden_size")) ||
      (ffn && (*ffn < said("intermediate_size") || *ffn - said("intermediate_size") > kFilledUp));
  if (other && gguf != nullptr && gguf->integer_of_any(".attention.head_count")) {
    config = json::object();
    add_gguf_notes(*gguf, config);
    notes.emplace_back("heads and rotary constants (from the metadata)");
  }
  shapes.set("hidden_size", width);
  shapes.set("intermediate_size", ffn, kFilledUp);
  shapes.set("vocab_size", shapes.extent(prefix + "embed_tokens.weight", 0), kFilledUp);
  const std::int64_t layers = shapes.layers(prefix + "layers.");
  // The encoder's last layer is never read, and some files leave it out.
  if (layers != said("num_hidden_layers") && layers + 1 != said("num_hidden_layers"))
    shapes.set("num_hidden_layers", layers);
  const std::int64_t head = said("head_dim");
  if (head > 0) {
    const auto heads = [&](const char* key, const char* projection) {
      const auto rows = shapes.extent(layer + projection, 0);
      if (rows && *rows % head == 0) shapes.set(key, *rows / head);
    };
    heads("num_attention_heads", "self_attn.q_proj.weight");
    heads("num_key_value_heads", "self_attn.k_proj.weight");
  }
  if (outer.contains("text_config")) {
    outer["text_config"] = config;
  } else {
    for (const auto& [key, value] : config.items()) outer[key] = value;
  }
  outer["tie_word_embeddings"] = !files.contains("lm_head.weight");
}

/// Beside the file, if it is the config of such a part; else the base folder's; else nothing.
json first_config(const ModelFolder& folder, Component component, std::string& where) {
  const std::string part(component_name(component));
  const std::string beside =
      (std::filesystem::path(folder.weights(part)).parent_path() / "config.json").string();
  const std::string of_base = join_path(folder.component(part), "config.json");
  for (const std::string& path : {beside, of_base}) {
    if (!file_exists(path)) continue;
    json config = parse_json(open_file(path));
    if (!config.is_object()) continue;
    const std::string name = config.contains("_class_name") && config["_class_name"].is_string()
                                 ? config["_class_name"].get<std::string>()
                                 : "";
    const bool fits = component == Component::transformer ? name == "ErnieImageTransformer2DModel"
                      : component == Component::vae       ? name.starts_with("AutoencoderKL")
                                                          : config.contains("model_type");
    if (!fits) continue;
    where = path;
    return config;
  }
  where = folder.weights(part);
  return json::object();
}

}  // namespace

FileConfig part_config(const ModelFolder& folder, Component component) {
  const std::string part(component_name(component));
  const std::string path = join_path(folder.component(part), "config.json");
  if (!folder.is_file(part) && (file_exists(path) || !folder.replaced.contains(part)))
    return {JsonReader::open(path), {}};
  std::string where;
  json config = first_config(folder, component, where);
  const WeightFiles files(folder.weights(part), std::string(weights_stem(component)), component);
  std::vector<std::string> notes;
  if (component == Component::transformer) {
    add_transformer_shapes(files, config, notes);
  } else if (component == Component::vae) {
    add_vae_shapes(files, config, notes);
  } else {
    add_language_shapes(files, config, notes);
  }
  for (std::string& note : notes) note = part + ": " + note;
  return {JsonReader(config, where + ", for " + folder.weights(part)), notes};
}

}  // namespace ernie_image
