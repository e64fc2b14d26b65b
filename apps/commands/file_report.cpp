#include "commands/file_report.h"

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "backend/cpu/cpu_backend.h"
#include "checkpoint/file_configs.h"
#include "common/console.h"
#include "core/quantization.h"
#include "ernie_image/error.h"
#include "io/gguf.h"
#include "io/weight_files.h"
#include "models/language_model.h"
#include "models/text_encoder.h"
#include "models/transformer.h"
#include "models/vae_decoder.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxNote = 200;

const char* dialect_name(Dialect dialect) {
  switch (dialect) {
    case Dialect::llama_cpp:
      return "llama.cpp";
    case Dialect::black_forest:
      return "Black Forest Labs";
    default:
      return "diffusers";
  }
}

/// A model folder that consists of this one part.
ModelFolder folder_of(const std::string& path, Component component) {
  ModelFolder folder;
  folder.path = path;
  folder.replaced[std::string(component_name(component))] = path;
  return folder;
}

/// Asks for every weight that the part's network needs.
void load_part(const JsonReader& config, Component component, WeightFiles& files) {
  const auto ops = make_cpu_backend({});
  switch (component) {
    case Component::transformer:
      Transformer(*ops, files, TransformerConfig::read(config));
      break;
    case Component::vae:
      VaeDecoder(*ops, files, VaeConfig::read(config));
      break;
    case Component::text_encoder:
      TextEncoder(*ops, files, MinistralConfig::read(config));
      break;
    case Component::pe:
      LanguageModel(*ops, files, MinistralConfig::read(config),
                    config.boolean("tie_word_embeddings", true));
      break;
  }
  files.require_complete();
}

PartReport report_part(const std::string& path, const NamedComponent& found) {
  PartReport part{found, {}, {}, {}, {}, {}};
  try {
    WeightFiles files(path, "", found.component);
    part.tensors = files.all();
    for (const Weight& tensor : part.tensors) {
      FormatCount& count = part.formats[format_of(tensor)];
      ++count.tensors;
      count.bytes += tensor.size_bytes();
    }
    const FileConfig config = part_config(folder_of(path, found.component), found.component);
    part.assumed = config.notes;
    load_part(config.reader, found.component, files);
    part.unused = files.unused();
  } catch (const Error& error) {
    part.problem = error.what();
  }
  return part;
}

bool is_of(const NamedComponent& component, const std::string& name) {
  return name.starts_with(component.prefix) || name.ends_with("lm_head.weight");
}

void add_missing(FileReport& report) {
  for (const char* part : {"transformer", "text_encoder", "vae"}) {
    const bool held = std::ranges::any_of(report.parts, [&](const PartReport& other) {
      return component_name(other.found.component) == part;
    });
    if (!held) report.missing.emplace_back(part);
  }
  report.missing.emplace_back("tokenizer");
  report.missing.emplace_back("scheduler");
}

json part_json(const PartReport& part, bool with_tensors) {
  json formats = json::object();
  for (const auto& [name, count] : part.formats)
    formats[name] = {{"tensors", count.tensors}, {"bytes", count.bytes}};
  json result = {{"component", component_name(part.found.component)},
                 {"naming", dialect_name(part.found.dialect)},
                 {"prefix", part.found.prefix},
                 {"tensors", part.tensors.size()},
                 {"formats", formats},
                 {"assumed", part.assumed},
                 {"unused", part.unused}};
  if (!part.problem.empty()) result["problem"] = part.problem;
  if (!with_tensors) return result;
  json& list = result["tensor_list"] = json::array();
  for (const Weight& tensor : part.tensors) {
    list.push_back({{"name", tensor.name},
                    {"format", format_of(tensor)},
                    {"shape", tensor.shape},
                    {"bytes", tensor.size_bytes()}});
  }
  return result;
}

std::string part_text(const PartReport& part, bool with_tensors) {
  std::string text = "  " + std::string(component_name(part.found.component)) + ": " +
                     std::to_string(part.tensors.size()) + " tensors, names of " +
                     dialect_name(part.found.dialect);
  if (!part.found.prefix.empty()) text += " behind \"" + visible(part.found.prefix) + "\"";
  text += "\n";
  for (const auto& [name, count] : part.formats) {
    text += "    " + visible(name) + " x " + std::to_string(count.tensors) + ", " +
            human_bytes(count.bytes) + "\n";
  }
  for (const std::string& note : part.assumed) text += "    " + visible(note) + "\n";
  for (const std::string& name : part.unused) text += "    not used: " + visible(name) + "\n";
  if (!part.problem.empty()) text += "    cannot be used: " + part.problem + "\n";
  if (!with_tensors) return text;
  for (const Weight& tensor : part.tensors) {
    text += "      " + visible(tensor.name) + " " + format_of(tensor) + " " +
            to_string(tensor.shape) + "\n";
  }
  return text;
}

}  // namespace

std::string format_of(const Weight& tensor) {
  if (tensor.format == WeightFormat::encoded) return std::string(tensor.decoder->name());
  return std::string(is_packed(tensor.format) ? format_name(tensor.format)
                                              : dtype_name(tensor.dtype));
}

FileReport report_file(const std::string& path) {
  FileReport report;
  report.path = path;
  std::vector<std::string> names;
  for (const std::string& place : gguf_parts(path)) {
    const auto file = TensorFile::open(place);
    report.container =
        dynamic_cast<const GgufFile*>(file.get()) != nullptr ? "GGUF" : "safetensors";
    report.bytes += file->file().bytes.size();
    for (const auto& [key, value] : file->metadata()) {
      if (value.size() <= kMaxNote) report.notes.emplace(key, value);
    }
    const std::vector<std::string> more = file->names();
    names.insert(names.end(), more.begin(), more.end());
  }
  report.tensors = names.size();
  const std::vector<NamedComponent> found = find_components(names);
  for (const NamedComponent& component : found)
    report.parts.push_back(report_part(path, component));
  for (const std::string& name : names) {
    if (std::ranges::none_of(found, [&](const auto& part) { return is_of(part, name); }))
      report.unknown.push_back(name);
  }
  if (found.empty()) {
    const std::string foreign = foreign_model(names);
    report.problem =
        foreign.empty() ? "no part of ERNIE-Image is among its tensors" : "holds " + foreign;
    return report;
  }
  for (const PartReport& part : report.parts) {
    if (!part.problem.empty()) report.problem = part.problem;
  }
  add_missing(report);
  return report;
}

json to_json(const FileReport& report, bool with_tensors) {
  json parts = json::array();
  for (const PartReport& part : report.parts) parts.push_back(part_json(part, with_tensors));
  json result = {{"file", report.path},       {"container", report.container},
                 {"bytes", report.bytes},     {"tensors", report.tensors},
                 {"notes", report.notes},     {"parts", parts},
                 {"unknown", report.unknown}, {"missing", report.missing}};
  if (!report.problem.empty()) result["problem"] = report.problem;
  return result;
}

std::string to_text(const FileReport& report, bool with_tensors) {
  std::string text = visible(report.path) + "\n" + report.container + ", " +
                     human_bytes(report.bytes) + ", " + std::to_string(report.tensors) +
                     " tensors\n";
  for (const auto& [key, value] : report.notes)
    text += "  " + visible(key) + ": " + visible(value) + "\n";
  if (!report.parts.empty()) text += "Holds\n";
  for (const PartReport& part : report.parts) text += part_text(part, with_tensors);
  if (!report.unknown.empty()) {
    text += "Tensors of no part: " + std::to_string(report.unknown.size()) + ", such as " +
            visible(report.unknown.front()) + "\n";
  }
  if (!report.missing.empty()) {
    text += "Has to come from a model folder (--base, or the model that this part is given to):";
    for (const std::string& part : report.missing) text += " " + part;
    text += "\n";
  }
  return report.problem.empty() ? text
                                : text + "This file cannot be used: " + report.problem + "\n";
}

}  // namespace ernie_image
