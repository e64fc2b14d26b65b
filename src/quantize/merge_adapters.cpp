#include "quantize/merge_adapters.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <span>

#include "adapters/merged_weight.h"
#include "adapters/weight_rows.h"
#include "core/half.h"
#include "io/atomic_file.h"
#include "io/file_view.h"
#include "io/json.h"
#include "io/safetensors_writer.h"
#include "quantize/quantize_output.h"

namespace ernie_image {
namespace {

using Changes = std::vector<std::pair<const AdapterModule*, const ActiveAdapter*>>;
using ChangesByTensor = std::map<std::string, Changes>;

constexpr std::string_view kWeight = ".weight";
constexpr std::string_view kBias = ".bias";

Tensor rounded(const Tensor& values, DType dtype) {
  if (dtype != DType::f16) return round_to(values, dtype);
  Tensor result = Tensor::host(DType::f16, values.shape());
  for (std::int64_t i = 0; i < values.size(); ++i)
    result.data<std::uint16_t>()[i] = float_to_f16(values.data<float>()[i]);
  return result;
}

/// Which tensors of a component become others, by their names in its files.
ChangesByTensor changes_of(const std::vector<ActiveAdapter>& adapters, const std::string& component,
                           const std::string& prefix, const WeightFiles& files) {
  ChangesByTensor changes;
  for (const ActiveAdapter& active : adapters) {
    const AdapterMatch& match = active.adapter->match;
    for (const auto& [name, module] :
         component == "transformer" ? match.transformer : match.text_encoder) {
      if (module.module().kind == Module::Kind::idle || active.strength == 0) continue;
      if (module.changes_weight())
        changes[prefix + name + std::string(kWeight)].emplace_back(&module, &active);
      if (!module.changes_bias()) continue;
      const std::string bias = prefix + name + std::string(kBias);
      if (!files.contains(bias)) {
        throw Error(ErrorKind::unsupported,
                    active.adapter->file.path().weights + ": " + printable(name) +
                        " gets a bias, for which the model has no place; use the adapter with "
                        "--lora instead");
      }
      changes[bias].emplace_back(&module, &active);
    }
  }
  return changes;
}

Tensor merged(const Weight& stored, const Changes& changes) {
  if (stored.name.ends_with(kBias)) {
    Tensor bias = weight_values(stored);
    for (const auto& [module, active] : changes)
      module->add_to_bias(active->strength, bias.data<float>());
    return rounded(bias, stored.dtype);
  }
  Weight weight = stored;
  weight.shape = changes.front().first->module().shape;  // 1x1 convolutions are matrices
  std::vector<std::vector<float>> gains;
  for (const auto& [module, active] : changes) {
    gains.push_back(module->norm() == AdapterModule::Norm::none ? std::vector<float>()
                                                                : module->gains(weight));
  }
  std::vector<AdapterChange> all;
  for (std::size_t i = 0; i < changes.size(); ++i)
    all.push_back({changes[i].first, changes[i].second->strength, &gains[i]});
  return rounded(merged_weight(weight, all), stored.dtype).reshaped(stored.shape);
}

void require_plain(const TensorFile& file, const Weight& weight) {
  if (weight.format == WeightFormat::plain) return;
  throw Error(ErrorKind::unsupported, file.path() + ": " + printable(weight.name) +
                                          " is quantised; merge into the model that this one was "
                                          "made from");
}

/// What is merged is written with the file's own names, beside files that are copied as they are.
void require_diffusers_names(const ModelFolder& folder, const WeightFiles& files,
                             const ChangesByTensor& changes) {
  const auto is_in_a_file = [&](const std::string& name) {
    return std::ranges::any_of(files.files(),
                               [&](const auto& file) { return file->contains(name); });
  };
  const bool has_all =
      std::ranges::all_of(changes, [&](const auto& change) { return is_in_a_file(change.first); });
  if (folder.replaced.empty() && has_all) return;
  throw Error(ErrorKind::unsupported,
              (folder.replaced.empty() ? files.path() : folder.source) +
                  ": LoRAs are merged into a model folder of plain safetensors files with the "
                  "names of diffusers; use them with --lora instead");
}

class Merging {
 public:
  Merging(Model& model, const MergeRequest& request) : model_(model), request_(request) {}

  MergeResult run();

 private:
  void write_component(const WeightFiles& files, const std::string& part,
                       const ChangesByTensor& changes);
  void write_weights(const TensorFile& file, const std::string& path,
                     const ChangesByTensor& changes);
  void copy_folder(const std::string& part);
  void copy(const std::string& name);
  std::string output(const std::string& name) const { return join_path(request_.output, name); }
  void stop_if_asked() const {
    if (request_.cancel) request_.cancel->throw_if_requested();
  }

  Model& model_;
  const MergeRequest& request_;
  MergeResult result_;
  std::vector<std::string> written_;  // names relative to the folder
};

void Merging::copy(const std::string& name) {
  if (std::ranges::find(written_, name) != written_.end()) return;
  stop_if_asked();
  make_folder_of(request_.output, name);
  const FileView file = open_file(join_path(model_.folder.path, name));
  write_file_atomically(output(name), file.bytes);
  release_pages(file);
  written_.push_back(name);
  ++result_.files;
}

void Merging::copy_folder(const std::string& part) {
  const std::string folder = part.empty() ? model_.folder.path : model_.folder.component(part);
  for (const std::string& name : list_files(folder)) {
    if (!(part.empty() && name == kModelIndex)) copy(part.empty() ? name : part + "/" + name);
  }
}

/// Tensors of the largest type first, so that all are aligned.
void Merging::write_weights(const TensorFile& file, const std::string& path,
                            const ChangesByTensor& changes) {
  std::vector<Weight> weights;
  for (const std::string& name : file.names()) {
    weights.push_back(file.stored(name));
    require_plain(file, weights.back());
  }
  std::ranges::stable_sort(weights, std::greater(),
                           [](const Weight& weight) { return size_of(weight.dtype); });
  std::vector<TensorEntry> entries;
  for (const Weight& weight : weights) entries.push_back({weight.name, weight.dtype, weight.shape});
  const std::string beginning = safetensors_beginning(path, entries, file.metadata());
  write_file_atomically(path, [&](const auto& append) {
    append(std::as_bytes(std::span(beginning)));
    for (const Weight& weight : weights) {
      stop_if_asked();
      const auto changed = changes.find(weight.name);
      if (changed == changes.end()) {
        append({weight.data, weight.size_bytes()});
      } else {
        const Tensor tensor = merged(weight, changed->second);
        append({tensor.bytes(), tensor.size_bytes()});
        ++result_.merged_tensors;
      }
      release_pages(file.file());
    }
  });
}

void Merging::write_component(const WeightFiles& files, const std::string& part,
                              const ChangesByTensor& changes) {
  if (changes.empty()) return;
  for (const auto& file : files.files()) {
    const std::string name = part + "/" + file->path().substr(file->path().rfind('/') + 1);
    make_folder_of(request_.output, name);
    write_weights(*file, output(name), changes);
    written_.push_back(name);
    ++result_.files;
  }
}

MergeResult Merging::run() {
  const WeightFiles& transformer = model_.weights.transformer;
  const WeightFiles& text_encoder = model_.weights.text_encoder;
  const ChangesByTensor of_transformer =
      changes_of(request_.adapters, "transformer", "", transformer);
  const ChangesByTensor of_encoder = changes_of(
      request_.adapters, "text_encoder", TextEncoder::name_prefix(text_encoder), text_encoder);
  require_diffusers_names(model_.folder, transformer, of_transformer);
  require_diffusers_names(model_.folder, text_encoder, of_encoder);
  require_apart(model_.folder.path, request_.output);
  const OutputLock lock = open_output(request_.output);
  if (!std::filesystem::is_empty(request_.output)) {
    throw Error(ErrorKind::invalid_argument,
                "--output: " + request_.output + " is not empty; name a new folder");
  }
  write_component(transformer, "transformer", of_transformer);
  write_component(text_encoder, "text_encoder", of_encoder);
  for (const char* part :
       {"transformer", "text_encoder", "vae", "scheduler", "tokenizer", "pe", "pe_tokenizer", ""})
    copy_folder(part);
  copy(kModelIndex);
  return result_;
}

}  // namespace

MergeResult merge_adapters(Model& model, const MergeRequest& request) {
  return Merging(model, request).run();
}

}  // namespace ernie_image
