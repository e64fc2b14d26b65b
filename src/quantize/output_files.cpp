#include "quantize/output_files.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "core/quantization.h"
#include "ernie_image/error.h"
#include "io/file_view.h"
#include "io/json.h"
#include "io/model_manifest.h"
#include "io/packed_tensors.h"
#include "models/quantized_weights.h"

namespace ernie_image {
namespace {

bool is_weight_file(const std::string& name) {
  return name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
}

std::string stem_of(const std::string& component) {
  return std::string(component == "transformer" ? kDiffusersStem : kTransformersStem);
}

void require_plain(const std::string& component, const WeightFiles& weights) {
  for (const Weight& weight : weights.all()) {
    if (weight.format != WeightFormat::encoded) continue;
    throw Error(ErrorKind::invalid_argument, weights.path() + ": the " + component +
                                                 " is in the format " +
                                                 std::string(weight.decoder->name()) +
                                                 " already; name the model that it was made from");
  }
  for (const auto& file : weights.files()) {
    for (const std::string& name : file->names()) {
      const WeightFormat format = file->stored(name).format;
      if (format == WeightFormat::plain) continue;
      throw Error(ErrorKind::invalid_argument,
                  file->path() + ": the " + component + " is quantised to " +
                      std::string(format_name(format)) +
                      " already; name the model that it was made from");
    }
  }
}

OutputTensor output_tensor(const WeightFiles& component, const TensorFile& file,
                           const Weight& weight, Quantization quantization, QuantizeTarget target) {
  const WeightFormat format =
      format_in_file(quantized_weights(), component, weight.name, quantization);
  const bool matrix = weight.shape.size() == 2 && num_elements(weight.shape) > 0;
  if (!matrix || !is_weight_number(weight.dtype) || format == WeightFormat::plain)
    return {{weight.name, weight.dtype, weight.shape}, WeightFormat::plain, &file};
  if (target == QuantizeTarget::ascend)
    return {
        {weight.name, DType::u8, row_codes_extents(weight.shape)}, WeightFormat::encoded, &file};
  return {{weight.name, DType::u8, packed_extents(format, weight.shape)}, format, &file};
}

/// In the order in which the source holds them, so that it is read as a stream.
std::vector<OutputTensor> output_tensors(const WeightFiles& weights, Quantization quantization,
                                         QuantizeTarget target) {
  std::vector<OutputTensor> tensors;
  for (const auto& file : weights.files()) {
    std::vector<const Weight*> order;
    for (const std::string& name : file->names()) order.push_back(&file->stored(name));
    std::ranges::stable_sort(order, {}, [](const Weight* weight) { return weight->data; });
    for (const Weight* weight : order)
      tensors.push_back(output_tensor(weights, *file, *weight, quantization, target));
  }
  return tensors;
}

/// Packed tensors first, whose sizes are multiples of 64 bytes, then the widest elements, so that
/// all are aligned.
void order_for_alignment(std::vector<OutputTensor>& tensors) {
  const auto rank = [](const OutputTensor& tensor) {
    return tensor.format != WeightFormat::plain ? std::size_t{64} : size_of(tensor.entry.dtype);
  };
  std::ranges::stable_sort(tensors, std::greater<>(), rank);
}

std::vector<OutputFile> split_into_shards(std::vector<OutputTensor> tensors,
                                          std::uint64_t max_shard_bytes) {
  std::vector<OutputFile> shards;
  for (OutputTensor& tensor : tensors) {
    const std::uint64_t bytes = tensor.entry.size_bytes();
    if (shards.empty() || shards.back().bytes + bytes > max_shard_bytes) {
      shards.emplace_back();
      shards.back().kind = OutputFile::Kind::shard;
    }
    OutputFile& shard = shards.back();
    shard.bytes += bytes;
    shard.source_bytes += tensor.source().size_bytes();
    shard.tensors.push_back(std::move(tensor));
  }
  return shards;
}

std::string shard_name(const std::string& stem, std::size_t index, std::size_t count) {
  if (count == 1) return stem + ".safetensors";
  char number[32];
  std::snprintf(number, sizeof(number), "-%05zu-of-%05zu", index + 1, count);
  return stem + number + ".safetensors";
}

void add_metadata(OutputFile& shard, const std::map<std::string, std::string>& of_source) {
  shard.metadata = of_source;
  for (const OutputTensor& tensor : shard.tensors) {
    if (tensor.format == WeightFormat::plain) continue;
    shard.metadata.insert_or_assign(std::string(kPackedVersionKey), std::string(kPackedVersion));
    shard.metadata[packed_key(tensor.entry.name)] =
        is_packed(tensor.format) ? packed_value(tensor.format, tensor.source().shape)
                                 : row_codes_value(tensor.source().shape);
  }
}

OutputFile make_index(const std::string& name, const std::vector<OutputFile>& shards) {
  nlohmann::json map = nlohmann::json::object();
  std::uint64_t total = 0;
  for (const OutputFile& shard : shards) {
    for (const OutputTensor& tensor : shard.tensors)
      map[tensor.entry.name] = shard.name.substr(shard.name.find('/') + 1);
    total += shard.bytes;
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
  OutputFile file{OutputFile::Kind::text, name, {}, index.dump(2) + "\n", {}, {}};
  file.bytes = file.content.size();
  return file;
}

void add_copy(const ModelFolder& source, const std::string& name, OutputFiles& output_files) {
  const std::string path = source.component(name);
  OutputFile file{OutputFile::Kind::copy, name, path, {}, {}, {}};
  // Other files are small, and whoever edits one does not mean the source too.
  if (is_weight_file(name) && !name.ends_with(".json")) file.kind = OutputFile::Kind::link;
  file.source_bytes = file.bytes = open_file(path).bytes.size();
  output_files.files.push_back(std::move(file));
}

void add_weights(const ModelFolder& source, const std::string& component, Quantization quantization,
                 QuantizeTarget target, std::uint64_t max_shard_bytes, OutputFiles& output_files) {
  const std::string stem = stem_of(component);
  const WeightFiles& weights = *output_files.weights.emplace_back(
      std::make_unique<WeightFiles>(source.weights(component), stem));
  require_plain(component, weights);
  auto shards = split_into_shards(output_tensors(weights, quantization, target), max_shard_bytes);
  for (std::size_t i = 0; i < shards.size(); ++i) {
    shards[i].name = component + "/" + shard_name(stem, i, shards.size());
    order_for_alignment(shards[i].tensors);
    add_metadata(shards[i], weights.files().front()->metadata());
  }
  if (shards.size() > 1)
    shards.push_back(make_index(component + "/" + stem + ".safetensors.index.json", shards));
  std::ranges::move(shards, std::back_inserter(output_files.files));
}

/// The parts that model_index.json may list, those that the source has.
std::vector<std::string> parts_of(const ModelFolder& source) {
  std::vector<std::string> parts;
  for (const char* part :
       {"scheduler", "tokenizer", "pe_tokenizer", "vae", "pe", "text_encoder", "transformer"}) {
    if (directory_exists(source.component(part))) parts.emplace_back(part);
  }
  return parts;
}

void require_component(const ModelFolder& source, const std::string& component) {
  if (component != "pe" || source.has_prompt_enhancer) return;
  throw Error(ErrorKind::invalid_argument,
              source.path + " has no prompt enhancer (folders pe and pe_tokenizer) to quantise");
}

bool is_hidden(const std::string& name) { return name.starts_with('.'); }

}  // namespace

std::uint64_t OutputFiles::source_bytes() const {
  std::uint64_t bytes = 0;
  for (const OutputFile& file : files) bytes += file.source_bytes;
  return bytes;
}

std::size_t OutputFiles::packed_tensors() const {
  std::size_t count = 0;
  for (const OutputFile& file : files) {
    for (const OutputTensor& tensor : file.tensors) count += tensor.format != WeightFormat::plain;
  }
  return count;
}

OutputFiles list_output_files(const ModelFolder& source, const std::set<std::string>& components,
                              Quantization quantization, QuantizeTarget target,
                              std::uint64_t max_shard_bytes) {
  if (file_exists(source.component(kManifestName))) {
    throw Error(ErrorKind::invalid_argument,
                source.path + " is quantised already; name the model that it was made from");
  }
  OutputFiles output_files;
  for (const std::string& component : components) require_component(source, component);
  for (const std::string& part : parts_of(source)) {
    const bool quantized = components.contains(part);
    const std::string folder = part + "/";
    for (const std::string& name : list_files(source.component(part))) {
      if (!is_hidden(name) && !(quantized && is_weight_file(name)))
        add_copy(source, folder + name, output_files);
    }
    if (quantized) add_weights(source, part, quantization, target, max_shard_bytes, output_files);
  }
  for (const std::string& name : list_files(source.path)) {
    if (!is_hidden(name) && name != kModelIndex) add_copy(source, name, output_files);
  }
  add_copy(source, kModelIndex, output_files);
  return output_files;
}

}  // namespace ernie_image
