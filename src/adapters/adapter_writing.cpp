#include "adapters/adapter_writing.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <set>
#include <span>

#include <nlohmann/json.hpp>

#include "adapters/weight_rows.h"
#include "core/enum_names.h"
#include "ernie_image/error.h"
#include "io/atomic_file.h"
#include "io/file_view.h"
#include "io/safetensors.h"

namespace ernie_image {
namespace {

using Part = AdapterPart;
using Kind = AdapterModule::Kind;
using Tensors = std::vector<std::pair<std::string, Tensor>>;
using nlohmann::json;

/// Read by programs that know PEFT's words alone.
bool is_strict(AdapterNaming naming) {
  return naming == AdapterNaming::diffusers || naming == AdapterNaming::peft;
}

std::string prefixed(AdapterNaming naming, const std::string& component, const std::string& name) {
  switch (naming) {
    case AdapterNaming::diffusers:
      return component + "." + name;
    case AdapterNaming::comfyui:
      return "diffusion_model." + name;
    case AdapterNaming::peft:
      return "base_model.model." + name;
    case AdapterNaming::kohya:
      return "lora_unet_" + flattened(name);
    default:
      return name;
  }
}

[[noreturn]] void refuse(AdapterNaming naming, const std::string& module, const std::string& what) {
  throw Error(ErrorKind::unsupported, module + ": " + what + " cannot be written for " +
                                          name_of(naming) +
                                          "; comfyui, kohya and original can hold it");
}

std::string suffix_of(AdapterNaming naming, Part part) {
  const bool is_kohya = naming == AdapterNaming::kohya;
  switch (part) {
    case Part::down:
      return is_kohya ? ".lora_down.weight" : ".lora_A.weight";
    case Part::up:
      return is_kohya ? ".lora_up.weight" : ".lora_B.weight";
    case Part::up_bias:
      return ".lora_B.bias";
    case Part::magnitude:
      if (naming == AdapterNaming::peft) return ".lora_magnitude_vector";
      return naming == AdapterNaming::diffusers ? ".lora_magnitude_vector.weight" : ".dora_scale";
    case Part::embedding_down:
      return ".lora_embedding_A";
    case Part::embedding_up:
      return ".lora_embedding_B";
    case Part::kron_1:
      return ".lokr_w1";
    case Part::kron_1_a:
      return ".lokr_w1_a";
    case Part::kron_1_b:
      return ".lokr_w1_b";
    case Part::kron_2:
      return ".lokr_w2";
    case Part::kron_2_a:
      return ".lokr_w2_a";
    case Part::kron_2_b:
      return ".lokr_w2_b";
    case Part::hada_1_a:
      return ".hada_w1_a";
    case Part::hada_1_b:
      return ".hada_w1_b";
    case Part::hada_2_a:
      return ".hada_w2_a";
    case Part::hada_2_b:
      return ".hada_w2_b";
    case Part::difference:
      return ".diff";
    case Part::bias_difference:
      return ".diff_b";
    case Part::replacement:
      return ".set_weight";
    default:
      return ".alpha";
  }
}

Tensor scalar(double value) {
  const std::array values = {static_cast<float>(value)};
  return Tensor::copy_of<float>(DType::f32, {}, values);
}

/// The one layer that PEFT and diffusers know as a convolution.
Tensor shaped_factor(AdapterNaming naming, const std::string& module, Part part,
                     const Tensor& tensor) {
  const bool is_factor = part == Part::down || part == Part::up;
  if (!is_strict(naming) || module != "x_embedder.proj" || !is_factor) return tensor;
  return tensor.reshaped({tensor.dim(0), tensor.dim(1), 1, 1});
}

/// Magnitudes of rows as each naming shapes them.
Tensor shaped_magnitude(AdapterNaming naming, const std::string& module, const Tensor& magnitude) {
  const bool is_of_columns = magnitude.rank() >= 2 && magnitude.dim(0) == 1 && magnitude.dim(1) > 1;
  if (is_of_columns) {
    if (is_strict(naming)) refuse(naming, module, "DoRA by columns");
    return magnitude;
  }
  const std::int64_t size = magnitude.size();
  return magnitude.reshaped(is_strict(naming) ? Shape{size} : Shape{size, 1});
}

void add_tensors(AdapterNaming naming, const std::string& component, const WrittenModule& module,
                 Tensors& tensors) {
  const std::string name = prefixed(naming, component, module.name);
  if (is_strict(naming) && !module.is_low_rank) refuse(naming, module.name, "what is no LoRA");
  for (const auto& [part, tensor] : module.parts) {
    if (is_strict(naming) && part == Part::bias_difference)
      refuse(naming, module.name, "a difference of the bias");
    const Tensor written = part == Part::magnitude
                               ? shaped_magnitude(naming, module.name, tensor)
                               : shaped_factor(naming, module.name, part, tensor);
    tensors.emplace_back(name + suffix_of(naming, part), written);
  }
  if (!is_strict(naming) && module.rank > 0) {
    tensors.emplace_back(name + ".alpha", scalar(module.scale * static_cast<double>(module.rank)));
  }
}

template <typename Value>
Value most_frequent(const std::map<Value, int>& counts) {
  return std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; })
      ->first;
}

/// PEFT's configuration: what most modules have, and patterns for the others.
json config_of(const std::vector<WrittenModule>& modules) {
  std::map<double, int> alphas;
  std::map<std::int64_t, int> ranks;
  bool uses_dora = false, has_bias = false;
  json targets = json::array();
  for (const WrittenModule& module : modules) {
    ++alphas[module.scale * static_cast<double>(module.rank)];
    ++ranks[module.rank];
    targets.push_back(module.name);
    for (const auto& [part, tensor] : module.parts) {
      uses_dora |= part == Part::magnitude;
      has_bias |= part == Part::up_bias;
    }
  }
  const double alpha = most_frequent(alphas);
  const std::int64_t rank = most_frequent(ranks);
  json alpha_pattern = json::object(), rank_pattern = json::object();
  for (const WrittenModule& module : modules) {
    const double own = module.scale * static_cast<double>(module.rank);
    if (own != alpha) alpha_pattern[module.name] = own;
    if (module.rank != rank) rank_pattern[module.name] = module.rank;
  }
  return {{"peft_type", "LORA"},
          {"r", rank},
          {"lora_alpha", alpha},
          {"alpha_pattern", alpha_pattern},
          {"rank_pattern", rank_pattern},
          {"target_modules", targets},
          {"use_dora", uses_dora},
          {"use_rslora", false},
          {"lora_bias", has_bias},
          {"lora_dropout", 0.0},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"inference_mode", true},
          {"task_type", nullptr}};
}

json prefixed_config(const std::string& component, const json& config) {
  json result = json::object();
  for (const auto& [key, value] : config.items()) result[component + "." + key] = value;
  return result;
}

void write_peft_folder(const std::string& output, const Tensors& tensors, const json& config) {
  std::error_code error;
  std::filesystem::create_directory(output, error);
  if (error || !std::filesystem::is_directory(output, error)) {
    throw Error(ErrorKind::io, "--output: " + output + " cannot be made a folder" +
                                   (error ? ": " + error.message() : std::string()));
  }
  if (!std::filesystem::is_empty(output, error)) {
    throw Error(ErrorKind::invalid_argument, "--output: " + output + " is not empty");
  }
  write_safetensors(join_path(output, "adapter_model.safetensors"), tensors, {{"format", "pt"}});
  const std::string text = config.dump(2) + "\n";
  write_file_atomically(join_path(output, "adapter_config.json"), std::as_bytes(std::span(text)));
}

Tensor stored_tensor(const Weight& weight) {
  Tensor tensor = Tensor::host(weight.dtype, weight.shape);
  std::memcpy(tensor.bytes(), weight.data, weight.size_bytes());
  return tensor;
}

}  // namespace

WrittenModule written_module(const AdapterModule& module) {
  WrittenModule written{module.module().name,
                        {},
                        module.scale(),
                        module.rank(),
                        module.kind() == Kind::low_rank || module.kind() == Kind::table};
  for (const auto& [part, weight] : module.parts()) {
    if (part != Part::alpha) written.parts.emplace_back(part, stored_tensor(weight));
  }
  if (module.rank() == 0 && module.scale() != 1) {
    for (auto& [part, tensor] : written.parts) {
      if (part != Part::kron_1) continue;
      tensor = to_float(tensor);
      Tensor scaled = Tensor::host(DType::f32, tensor.shape());
      for (std::int64_t i = 0; i < tensor.size(); ++i)
        scaled.data<float>()[i] = static_cast<float>(tensor.data<float>()[i] * module.scale());
      tensor = scaled;
    }
    written.scale = 1;
  }
  return written;
}

void write_adapter(const std::string& output, AdapterNaming naming,
                   const std::vector<WrittenModule>& transformer,
                   const std::vector<WrittenModule>& text_encoder) {
  const bool is_alone = transformer.empty() && naming == AdapterNaming::peft;
  if (!text_encoder.empty() && naming != AdapterNaming::diffusers && !is_alone)
    refuse(naming, text_encoder.front().name, "a module of the text encoder beside others");
  Tensors tensors;
  for (const WrittenModule& module : transformer)
    add_tensors(naming, "transformer", module, tensors);
  for (const WrittenModule& module : text_encoder)
    add_tensors(naming, "text_encoder", module, tensors);
  if (naming == AdapterNaming::peft) {
    return write_peft_folder(output, tensors, config_of(is_alone ? text_encoder : transformer));
  }
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  if (naming == AdapterNaming::diffusers) {
    json configs = json::object();
    if (!transformer.empty())
      configs.update(prefixed_config("transformer", config_of(transformer)));
    if (!text_encoder.empty())
      configs.update(prefixed_config("text_encoder", config_of(text_encoder)));
    metadata["lora_adapter_metadata"] = configs.dump();
  }
  write_safetensors(output, tensors, metadata);
}

}  // namespace ernie_image
