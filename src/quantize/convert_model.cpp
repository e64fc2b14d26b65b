#include "quantize/convert_model.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>

#include "backend/registry.h"
#include "checkpoint/file_configs.h"
#include "checkpoint/model.h"
#include "core/enum_names.h"
#include "io/atomic_file.h"
#include "io/file_view.h"
#include "io/gguf_encode.h"
#include "io/gguf_writer.h"
#include "io/json.h"
#include "io/model_manifest.h"
#include "io/safetensors_writer.h"
#include "models/text_encoder.h"
#include "quantize/quantize_output.h"
#include "quantize/tensor_encoding.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kF8 = "F8_E4M3", kI8 = "I8";

/// A file to be written: weights, or a config and the like, whose text is known.
struct ConvertedOutput {
  std::string path;
  std::optional<Component> component;
  std::vector<EncodedTensor> tensors;
  GgufNotes notes;  ///< GGUF only
  std::string text;

  bool is_gguf() const { return path.ends_with(".gguf"); }
  std::uint64_t bytes() const {
    std::uint64_t bytes = text.size();
    for (const EncodedTensor& tensor : tensors) bytes += tensor.bytes;
    return bytes;
  }
};

/// What becomes of each weight, by the target and the type that was asked for.
class TensorChoice {
 public:
  TensorChoice(ConvertTarget target, const std::string& type)
      : gguf_(target == ConvertTarget::gguf), type_(gguf_ && type.empty() ? "Q8_0" : type) {}

  const std::string& type() const { return type_; }

  void add(const Weight& weight, const std::string& name, const RowOrder& order,
           std::vector<EncodedTensor>& tensors) const {
    const bool encoded = weight.format != WeightFormat::plain;
    if (!encoded && !is_weight_number(weight.dtype)) {
      if (!gguf_) tensors.push_back(copy_tensor(weight, name));  // a counter
      return;
    }
    const bool in_layer = is_layer_matrix(weight);
    if ((type_ == kF8 || type_ == kI8) && in_layer && !is_table(weight)) {
      const std::string module = name.substr(0, name.rfind('.'));
      std::ranges::move(encode_comfy(weight, module, type_), std::back_inserter(tensors));
      return;
    }
    const GgufType& type = in_layer && gguf_ ? block_type(weight) : *gguf_type(plain_type(weight));
    const bool same = !encoded && !order && type.dtype == weight.dtype;
    tensors.push_back(same ? copy_tensor(weight, name) : encode_tensor(weight, name, type, order));
  }

 private:
  /// The many and large: linear weights of numbered layers, and a language model's table.
  static bool is_layer_matrix(const Weight& weight) {
    if (weight.shape.size() != 2 || num_elements(weight.shape) == 0) return false;
    return weight.name.find("layers.") != std::string::npos || is_table(weight);
  }

  static bool is_table(const Weight& weight) {
    return weight.name.ends_with("embed_tokens.weight");
  }

  /// The type that was asked for, if rows are whole blocks of it, or the next that they are.
  const GgufType& block_type(const Weight& weight) const {
    for (const std::string_view name : {std::string_view(type_), std::string_view("Q8_0")}) {
      const GgufType& type = *gguf_type(name);
      if (weight.shape[1] % type.weights == 0) return type;
    }
    return *gguf_type(plain_type(weight));
  }

  /// Of what is not in blocks. GGUF's readers expect vectors and filters in F32.
  std::string_view plain_type(const Weight& weight) const {
    if (gguf_ && weight.shape.size() != 2) return "F32";
    for (const std::string_view type : {"F32", "F16", "BF16"}) {
      if (type_ == type) return type;
    }
    return weight.format == WeightFormat::plain ? dtype_name(weight.dtype) : "BF16";
  }

  bool gguf_;
  std::string type_;
};

/// Queries and keys as llama.cpp has them: row 2 j + s of a head is row s * D / 2 + j here.
RowOrder llama_order(const Weight& weight, std::int64_t head_dim) {
  const bool turned =
      weight.name.ends_with(".q_proj.weight") || weight.name.ends_with(".k_proj.weight");
  if (!turned) return {};
  return [head_dim](std::int64_t row) {
    const std::int64_t in_head = row % head_dim;
    return row - in_head + in_head % 2 * (head_dim / 2) + in_head / 2;
  };
}

std::uint32_t count(std::int64_t value) { return static_cast<std::uint32_t>(value); }

/// What llama.cpp's converter notes. The tokenizer is not among it.
GgufNotes language_notes(const MinistralConfig& config, std::int64_t layers) {
  GgufNotes notes = {{"general.architecture", "mistral3"}};
  const auto note = [&](const char* key, const auto& value) {
    notes.emplace_back("mistral3." + std::string(key), value);
  };
  const auto number = [](double value) { return static_cast<float>(value); };
  note("block_count", count(layers));
  note("context_length", count(config.max_position_embeddings));
  note("embedding_length", count(config.hidden_size));
  note("feed_forward_length", count(config.intermediate_size));
  note("attention.head_count", count(config.num_attention_heads));
  note("attention.head_count_kv", count(config.num_key_value_heads));
  note("attention.key_length", count(config.head_dim));
  note("attention.value_length", count(config.head_dim));
  note("attention.layer_norm_rms_epsilon", number(config.rms_norm_eps));
  note("vocab_size", count(config.vocab_size));
  note("rope.dimension_count", count(config.head_dim));
  note("rope.freq_base", number(config.rope.theta));
  if (!config.rope.yarn) return notes;
  note("attention.temperature_scale", number(config.rope.llama_4_scaling_beta));
  note("rope.scaling.type", std::string("yarn"));
  note("rope.scaling.factor", number(config.rope.factor));
  note("rope.scaling.original_context_length", count(config.rope.original_max_position_embeddings));
  note("rope.scaling.yarn_beta_fast", number(config.rope.beta_fast));
  note("rope.scaling.yarn_beta_slow", number(config.rope.beta_slow));
  return notes;
}

/// Every file that will be written, known before any is.
class Conversion {
 public:
  explicit Conversion(const ConvertRequest& request)
      : request_(request), choice_(request.target, request.type) {
    const auto ops = make_backend({});
    model_.emplace(*ops, request.source, Quantization::none);  // every name, type and shape
    if (!request.source.has_prompt_enhancer) return;
    pe_.emplace(request.source.weights("pe"), "model", Component::pe);
  }

  std::vector<ConvertedOutput> outputs() const {
    if (request_.target == ConvertTarget::diffusers) return model_folder();
    std::set<Component> components = request_.components;
    if (components.empty() && request_.target == ConvertTarget::gguf)
      components = {Component::transformer};
    if (components.empty())
      components = {Component::transformer, Component::text_encoder, Component::vae};
    std::vector<ConvertedOutput> outputs;
    for (const Component component : components) {
      require_offered(component);
      outputs.push_back({output_path(component, components.size() == 1),
                         component,
                         tensors_of(component),
                         {},
                         {}});
      if (request_.target == ConvertTarget::gguf) outputs.back().notes = notes_of(component);
    }
    return outputs;
  }

 private:
  void require_offered(Component component) const {
    const bool gguf = request_.target == ConvertTarget::gguf;
    if (component == (gguf ? Component::vae : Component::pe)) {
      throw Error(ErrorKind::invalid_argument,
                  "--components: " + std::string(component_name(component)) + " has no form in " +
                      (gguf ? "GGUF; use --to comfyui" : "ComfyUI; use --to gguf"));
    }
    if (component == Component::pe && !pe_) {
      throw Error(ErrorKind::invalid_argument,
                  request_.source.source + " has no prompt enhancer to convert");
    }
  }

  const WeightFiles& weights_of(Component component) const {
    switch (component) {
      case Component::transformer:
        return model_->weights.transformer;
      case Component::text_encoder:
        return model_->weights.text_encoder;
      case Component::vae:
        return model_->weights.vae;
      default:
        return *pe_;
    }
  }

  /// A name without what stands ahead of a language model's names; nothing for what is no part of
  /// it, such as the tower for pictures that a text encoder comes with.
  std::optional<std::string> bare_name(Component component, const std::string& name) const {
    if (!is_language_model(component) || name == "lm_head.weight") return name;
    const std::string prefix = TextEncoder::name_prefix(weights_of(component));
    if (!name.starts_with(prefix)) return std::nullopt;
    return name.substr(prefix.size());
  }

  /// Nothing for what the target has no place for.
  std::optional<std::string> name_there(Component component, const Weight& weight,
                                        int levels) const {
    if (request_.target == ConvertTarget::diffusers) return weight.name;
    auto bare = bare_name(component, weight.name);
    if (!bare) return std::nullopt;
    if (request_.target == ConvertTarget::gguf)
      return is_language_model(component) ? llama_name(*bare) : bare;
    if (component == Component::vae) return black_forest_name(*bare, levels);
    if (component == Component::transformer || bare == "lm_head.weight") return bare;
    return "model." + *bare;
  }

  std::vector<EncodedTensor> tensors_of(Component component) const {
    const std::vector<Weight> weights = weights_of(component).all_as_asked();
    const auto levels = static_cast<int>(model_->configs.vae.block_out_channels.size());
    const bool llama = request_.target == ConvertTarget::gguf && is_language_model(component);
    std::vector<EncodedTensor> tensors;
    for (Weight weight : weights) {
      const auto name = name_there(component, weight, levels);
      if (!name) continue;
      // The matrices of attention are filters of one pixel there.
      const bool filter = request_.target == ConvertTarget::comfyui &&
                          component == Component::vae && weight.shape.size() == 2;
      if (filter) weight.shape.insert(weight.shape.end(), {1, 1});
      choice_.add(weight, *name,
                  llama ? llama_order(weight, config_of(component).head_dim) : RowOrder(), tensors);
    }
    return tensors;
  }

  MinistralConfig config_of(Component component) const {
    if (component == Component::text_encoder) return model_->configs.text_encoder;
    return MinistralConfig::read(part_config(request_.source, component).reader);
  }

  GgufNotes notes_of(Component component) const {
    if (!is_language_model(component)) return {{"general.architecture", "ernie_image"}};
    const MinistralConfig config = config_of(component);
    return language_notes(config, config.num_hidden_layers);
  }

  std::string output_path(Component component, bool alone) const {
    const std::string& output = request_.output;
    const bool gguf = request_.target == ConvertTarget::gguf;
    const std::string ending = gguf ? ".gguf" : ".safetensors";
    if (output.ends_with(ending)) {
      if (alone) return output;
      throw Error(ErrorKind::invalid_argument,
                  "--output: " + output +
                      " is a file's name, but there are several components; name a folder");
    }
    const std::string part(component_name(component));
    if (gguf) return join_path(output, part + "-" + choice_.type() + ending);
    const char* folder = component == Component::transformer    ? "diffusion_models"
                         : component == Component::text_encoder ? "text_encoders"
                                                                : "vae";
    return join_path(output, std::string(folder) + "/ernie_image_" + part + ending);
  }

  // ---- a model folder
  // ------------------------------------------------------------------------------

  std::vector<ConvertedOutput> model_folder() const {
    std::vector<ConvertedOutput> outputs;
    for (const Component component :
         {Component::transformer, Component::text_encoder, Component::pe, Component::vae}) {
      if (component != Component::pe || pe_) add_component(component, outputs);
    }
    for (const char* part : {"scheduler", "tokenizer", "pe_tokenizer"}) {
      const std::string folder = request_.source.component(part);
      for (const std::string& name : list_files(folder))
        add_text(std::string(part) + "/" + name, join_path(folder, name), outputs);
    }
    add_text(kModelIndex, join_path(request_.source.path, kModelIndex), outputs);
    return outputs;
  }

  void add_text(const std::string& name, const std::string& source,
                std::vector<ConvertedOutput>& outputs) const {
    if (name.find("/.") != std::string::npos) return;  // of a cache
    outputs.push_back(
        {join_path(request_.output, name), {}, {}, {}, std::string(open_file(source).text())});
  }

  void add_component(Component component, std::vector<ConvertedOutput>& outputs) const {
    const std::string part(component_name(component));
    const std::string folder = join_path(request_.output, part);
    outputs.push_back({join_path(folder, std::string(weights_stem(component)) + ".safetensors"),
                       component,
                       tensors_of(component),
                       {},
                       {}});
    nlohmann::json config = part_config(request_.source, component).reader.value();
    config.erase("quantization_config");  // of what the weights were
    if (component == Component::transformer) config["_class_name"] = "ErnieImageTransformer2DModel";
    if (component == Component::vae && !config.contains("_class_name"))
      config["_class_name"] = "AutoencoderKLFlux2";
    outputs.push_back({join_path(folder, "config.json"), {}, {}, {}, config.dump(2) + "\n"});
    const std::string source = request_.source.component(part);
    for (const std::string& name : list_files(source)) {
      const bool other = name.ends_with(".json") && name != "config.json" &&
                         name.find(".safetensors.index") == std::string::npos;
      if (other) add_text(part + "/" + name, join_path(source, name), outputs);
    }
  }

  const ConvertRequest& request_;
  TensorChoice choice_;
  std::optional<Model> model_;
  std::optional<WeightFiles> pe_;
};

/// The header of the file; orders its tensors as they will follow.
std::string beginning_of(ConvertedOutput& output) {
  if (output.is_gguf()) {
    std::vector<GgufEntry> entries;
    for (const EncodedTensor& tensor : output.tensors)
      entries.push_back({tensor.name, gguf_type(tensor.type), tensor.shape});
    return gguf_beginning(output.path, entries, output.notes);
  }
  // The widest elements first, so that all are aligned.
  std::ranges::stable_sort(output.tensors, std::greater(), [](const EncodedTensor& tensor) {
    return size_of(*dtype_from_name(tensor.type));
  });
  std::vector<TensorEntry> entries;
  for (const EncodedTensor& tensor : output.tensors)
    entries.push_back({tensor.name, *dtype_from_name(tensor.type), tensor.shape});
  return safetensors_beginning(output.path, entries, {{"format", "pt"}});
}

class Writing {
 public:
  Writing(const ConvertRequest& request, std::vector<ConvertedOutput> outputs)
      : request_(request), outputs_(std::move(outputs)), pool_(request.num_threads) {
    pool_.set_cancel_token(request.cancel);
    progress_.work = "convert";
    for (const ConvertedOutput& output : outputs_) {
      progress_.all_tensors += output.tensors.size();
      for (const EncodedTensor& tensor : output.tensors) progress_.all_bytes += tensor.source_bytes;
    }
  }

  ConvertResult run() {
    require_free();
    require_space();
    for (ConvertedOutput& output : outputs_) {
      make_parent(output.path);
      result_.files.push_back(write(output));
    }
    result_.seconds = seconds();
    return std::move(result_);
  }

 private:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  void require_free() const {
    for (const ConvertedOutput& output : outputs_) {
      std::error_code error;
      if (!fs::exists(output.path, error) || (request_.force && fs::is_regular_file(output.path)))
        continue;
      throw Error(
          ErrorKind::invalid_argument,
          "--output: " + output.path + " exists" +
              (fs::is_directory(output.path) ? " and is a folder" : "; --force writes over it"));
    }
  }

  void require_space() const {
    std::uint64_t needed = 0;
    for (const ConvertedOutput& output : outputs_) needed += output.bytes();
    require_space_for(needed, request_.output);
  }

  static void make_parent(const std::string& path) {
    std::error_code error;
    const fs::path folder = fs::path(path).parent_path();
    if (!folder.empty()) fs::create_directories(folder, error);
    if (error) throw Error(ErrorKind::io, folder.string() + ": cannot be made: " + error.message());
  }

  void report() {
    if (request_.cancel) request_.cancel->throw_if_requested();
    progress_.seconds = seconds();
    if (request_.on_progress) request_.on_progress(progress_);
  }

  ConvertedFile write(ConvertedOutput& output) {
    ConvertedFile file{output.path, "", output.text.size(), {}};
    if (!output.component) {
      write_file_atomically(output.path, std::as_bytes(std::span(output.text)));
      return file;
    }
    file.component = component_name(*output.component);
    const std::string beginning = beginning_of(output);
    file.bytes = beginning.size();
    write_file_atomically(output.path, [&](const AppendBytes& append) {
      append(std::as_bytes(std::span(beginning)));
      for (const EncodedTensor& tensor : output.tensors) {
        report();
        tensor.write(pool_, append);
        file.bytes += tensor.bytes + fill_up(output, tensor, append);
        ++file.types[tensor.type];
        ++progress_.tensors;
        progress_.bytes += tensor.source_bytes;
      }
    });
    report();
    return file;
  }

  static std::uint64_t fill_up(const ConvertedOutput& output, const EncodedTensor& tensor,
                               const AppendBytes& append) {
    constexpr std::array<std::byte, kGgufAlignment> kZeros{};
    if (!output.is_gguf()) return 0;
    const std::uint64_t rest = (kGgufAlignment - tensor.bytes % kGgufAlignment) % kGgufAlignment;
    append(std::span(kZeros).first(rest));
    return rest;
  }

  const ConvertRequest& request_;
  std::vector<ConvertedOutput> outputs_;
  ThreadPool pool_;
  QuantizeProgress progress_;
  ConvertResult result_;
  Clock::time_point start_ = Clock::now();
};

void check_request(const ConvertRequest& request) {
  const std::vector<std::string_view> types = convert_types(request.target);
  if (!request.type.empty() && std::ranges::find(types, request.type) == types.end()) {
    std::string all;
    for (const std::string_view type : types) all += (all.empty() ? "" : " ") + std::string(type);
    throw Error(ErrorKind::invalid_argument, "--type: " + request.type + " is none of " +
                                                 name_of(request.target) + "'s: " + all);
  }
  if (request.target != ConvertTarget::diffusers) return;
  if (!request.components.empty()) {
    throw Error(ErrorKind::invalid_argument,
                "--components: a model folder has all of them; leave the flag out");
  }
  require_apart(request.source.path, request.output);
}

/// A source is mapped while it is read: writing over it would be the end of both.
void require_other_files(const ConvertRequest& request,
                         const std::vector<ConvertedOutput>& outputs) {
  for (const char* part : {"transformer", "text_encoder", "vae", "pe"}) {
    const std::string source = request.source.weights(part);
    for (const ConvertedOutput& output : outputs) {
      std::error_code error;
      if (fs::equivalent(source, output.path, error)) {
        throw Error(ErrorKind::invalid_argument,
                    "--output: " + output.path + " is the file that is read");
      }
    }
  }
}

}  // namespace

std::vector<std::string_view> convert_types(ConvertTarget target) {
  switch (target) {
    case ConvertTarget::diffusers:
      return {"F32", "F16", "BF16"};
    case ConvertTarget::comfyui:
      return {"F32", "F16", "BF16", kF8, kI8};
    default:
      return {"F32",  "F16",  "BF16", "Q8_0",   "Q6_K", "Q5_K",
              "Q5_1", "Q5_0", "Q4_K", "IQ4_NL", "Q4_1", "Q4_0"};
  }
}

ConvertResult convert_model(const ConvertRequest& request) {
  check_request(request);
  const Conversion conversion(request);
  std::vector<ConvertedOutput> outputs = conversion.outputs();
  require_other_files(request, outputs);
  return Writing(request, std::move(outputs)).run();
}

}  // namespace ernie_image
