#include "commands/model_report.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include <nlohmann/json.hpp>

#include "backend/registry.h"
#include "checkpoint/model.h"
#include "commands/file_report.h"
#include "common/console.h"
#include "core/enum_names.h"
#include "core/quantization.h"
#include "enhance/prompt_enhancer.h"
#include "io/model_folder.h"
#include "io/model_manifest.h"
#include "io/weight_files.h"
#include "pipeline/rehearsal.h"
#include "request/request.h"

namespace ernie_image {
namespace {

using nlohmann::json;

/// "BF16"; "int8" for a packed weight.
std::string type_name(const Weight& tensor) { return format_of(tensor); }

std::string format_row(const char* name, std::size_t tensors, double parameters,
                       const std::string& bytes, const std::string& dtypes) {
  char text[160];
  std::snprintf(text, sizeof(text), "  %-14s %6zu tensors  %10.3f M parameters  %10s  %s\n", name,
                tensors, parameters / 1e6, bytes.c_str(), dtypes.c_str());
  return text;
}

std::string dtypes_text(const ComponentReport& component) {
  const auto packed_bytes = component.packed_bytes();
  std::string text;
  for (const auto& [dtype, count] : component.tensors_by_dtype()) {
    text += (text.empty() ? "" : ", ") + dtype + " x " + std::to_string(count);
    const auto packed = packed_bytes.find(dtype);
    if (packed != packed_bytes.end()) text += " (" + human_bytes(packed->second) + ")";
  }
  return text;
}

std::string components_text(const ModelReport& report, bool with_tensors) {
  std::string text = "Components\n";
  for (const ComponentReport& component : report.components) {
    text += format_row(component.name.c_str(), component.tensors.size(),
                       static_cast<double>(component.parameters()), human_bytes(component.bytes()),
                       dtypes_text(component));
    if (!with_tensors) continue;
    for (const Weight& tensor : component.tensors) {
      text += "    " + visible(tensor.name) + " " + type_name(tensor) + " " +
              to_string(tensor.shape) + "\n";
    }
  }
  return text;
}

std::string stage_row(const StagePlan& stage) {
  char row[160];
  std::snprintf(row, sizeof(row), "  %-14s %10s %10s %10s %12s %10s\n", stage.name.c_str(),
                human_bytes(stage.weight_bytes).c_str(), human_bytes(stage.peak.weights).c_str(),
                human_bytes(stage.peak.copies).c_str(), human_bytes(stage.peak.activations).c_str(),
                human_bytes(stage.total_bytes).c_str());
  std::string text = row;
  const ResidencyPlan& layers = stage.residency;
  if (!stage.fits)
    text += "    does not fit: at least " + human_bytes(stage.least_bytes) + " is needed\n";
  if (stage.fits && stage.streams()) {
    text += "    " + std::to_string(layers.layers - layers.resident_layers) + " of " +
            std::to_string(layers.layers) + " layers are streamed from the file, " +
            std::to_string(layers.window_layers) + " at a time\n";
  }
  return text;
}

std::string plan_text(const ModelReport& report) {
  const MemoryPlan& plan = report.plan;
  std::string text = "Memory plan (1 image of " + std::to_string(report.planned.width_px) + "x" +
                     std::to_string(report.planned.height_px) + ", " +
                     name_of(precision_of(report.planned.dtype)) + ")\n" +
                     "  stage              mapped   resident     copied  activations     in all\n";
  for (const StagePlan& stage : plan.stages) text += stage_row(stage);
  return text + "  Stages run in turn, each beside " + human_bytes(plan.program_bytes) +
         " of the program and the copies that stay: at most " + human_bytes(plan.peak_bytes()) +
         " of the limit " + human_bytes(plan.limit_bytes) + "; " +
         human_bytes(plan.available_bytes) + " are free\n";
}

json component_json(const ComponentReport& component, bool with_tensors) {
  json result = {{"name", component.name},
                 {"tensors", component.tensors.size()},
                 {"parameters", component.parameters()},
                 {"bytes", component.bytes()},
                 {"dtypes", component.tensors_by_dtype()},
                 {"packed_bytes", component.packed_bytes()}};
  if (!with_tensors) return result;
  json& list = result["tensor_list"] = json::array();
  for (const Weight& tensor : component.tensors) {
    list.push_back({{"name", tensor.name},
                    {"dtype", type_name(tensor)},
                    {"shape", tensor.shape},
                    {"bytes", tensor.size_bytes()}});
  }
  return result;
}

json stage_json(const StagePlan& stage) {
  return {{"name", stage.name},
          {"mapped_bytes", stage.weight_bytes},
          {"resident_bytes", stage.peak.weights},
          {"copied_bytes", stage.peak.copies},
          {"activation_bytes", stage.peak.activations},
          {"total_bytes", stage.total_bytes},
          {"least_bytes", stage.least_bytes},
          {"layers", stage.residency.layers},
          {"streamed_layers", stage.residency.layers - stage.residency.resident_layers},
          {"fits", stage.fits}};
}

json plan_json(const ModelReport& report) {
  const MemoryPlan& plan = report.plan;
  json stages = json::array();
  for (const StagePlan& stage : plan.stages) stages.push_back(stage_json(stage));
  return {{"width", report.planned.width_px},
          {"height", report.planned.height_px},
          {"dtype", name_of(precision_of(report.planned.dtype))},
          {"stages", stages},
          {"program_bytes", plan.program_bytes},
          {"peak_bytes", plan.peak_bytes()},
          {"peak_activation_bytes", plan.peak_activation_bytes()},
          {"limit_bytes", plan.limit_bytes},
          {"available_bytes", plan.available_bytes}};
}

/// The stage before all others, of a prompt as long as the enhancer's instructions allow.
void add_enhancer(MemoryPlan& plan, const Backend& ops, const ModelFolder& folder, DType dtype,
                  std::uint64_t resting_bytes) {
  const WeightFiles weights(folder.weights("pe"), "model", Component::pe, dtype);
  EnhancerPlanRequest request;
  request.dtype = dtype;
  const MemoryPlan own =
      plan_enhancer(ops, PromptEnhancerConfig::read(folder), weights, request,
                    plan.limit_bytes - std::min(plan.limit_bytes, resting_bytes));
  StagePlan stage = own.stages.front();
  stage.total_bytes += resting_bytes;
  stage.least_bytes += resting_bytes;
  plan.stages.insert(plan.stages.begin(), std::move(stage));
}

/// For a card as it is now; of a list, the first.
void add_device_plan(ModelReport& report, const LoadOptions& load, const ModelConfigs& configs,
                     const ModelWeights& weights, const ResolvedRequest& generation) {
  BackendOptions options;
  options.device = split_device_list(load.device).front();
  options.device_options = load.device_options;
  const auto ops = make_backend(options);
  const auto memory = ops->device_memory();
  report.device = options.device;
  if (!memory) return;
  const std::uint64_t limit = report.planned.limit_bytes;
  const WeightShare share = {.rank = 0,
                             .ranks = cards_sharing_weights(load.device, load.device_options)};
  report.device_plan =
      GenerationRehearsal(*ops, configs, weights, generation, load.precision, load.quantization, 1,
                          share)
          .on_device(offload_of_device(options.device, load.device_options),
                     limit == 0 ? memory->free_bytes : std::min(limit, memory->free_bytes));
}

json device_plan_json(const ModelReport& report) {
  const MemoryPlan& plan = *report.device_plan;
  json stages = json::array();
  for (const StagePlan& stage : plan.stages) {
    stages.push_back({{"name", stage.name},
                      {"weight_bytes", stage.weight_bytes},
                      {"resident_bytes", stage.peak.weights},
                      {"activation_bytes", stage.peak.activations},
                      {"total_bytes", stage.total_bytes},
                      {"least_bytes", stage.least_bytes},
                      {"streams", stage.streams()},
                      {"fits", stage.fits}});
  }
  return {{"device", report.device},
          {"stages", stages},
          {"workspace_bytes", plan.program_bytes},
          {"peak_bytes", plan.peak_bytes()},
          {"limit_bytes", plan.limit_bytes}};
}

std::string device_plan_text(const ModelReport& report) {
  const MemoryPlan& plan = *report.device_plan;
  std::string text = "Memory of " + report.device +
                     "\n  stage             weights   resident  activations     in all\n";
  for (const StagePlan& stage : plan.stages) {
    char row[160];
    std::snprintf(row, sizeof(row), "  %-14s %10s %10s %12s %10s%s\n", stage.name.c_str(),
                  human_bytes(stage.weight_bytes).c_str(), human_bytes(stage.peak.weights).c_str(),
                  human_bytes(stage.peak.activations).c_str(),
                  human_bytes(stage.total_bytes).c_str(),
                  !stage.fits       ? ", does not fit"
                  : stage.streams() ? ", streamed by layers"
                                    : "");
    text += row;
  }
  return text + (plan.keeps_all ? "  All weights stay" : "  Weights of a stage leave after it") +
         ": at most " + human_bytes(plan.peak_bytes()) + " of the " +
         human_bytes(plan.limit_bytes) + " that are free\n";
}

std::string verification_text(const Verification& verification) {
  std::string text = "Checksums: " + std::to_string(verification.files) + " files, " +
                     human_bytes(verification.bytes) + ", " +
                     std::to_string(verification.damaged.size()) + " damaged\n";
  for (const std::string& problem : verification.damaged) text += "  " + visible(problem) + "\n";
  return text;
}

/// What the configs alone say, for a model that cannot be loaded.
ModelInfo info_of_configs(const ModelFolder& folder, const ModelConfigs& configs) {
  ModelInfo info;
  info.path = folder.source;
  info.parts = folder.parts;
  info.notes = folder.notes;
  info.notes.insert(info.notes.end(), configs.notes.begin(), configs.notes.end());
  info.name = folder.name;
  info.content_hash = content_hash(folder);
  info.defaults = configs.defaults;
  info.size_multiple_px = static_cast<int>(configs.vae.spatial_factor);
  info.latent_channels = static_cast<int>(configs.transformer.in_channels);
  return info;
}

void try_loading(ModelReport& report) {
  try {
    LoadOptions options;
    options.model = report.info.path;
    options.parts = report.info.parts;
    report.info = Pipeline::load(options).info();
  } catch (const Error& error) {
    report.problem = error.what();
  }
}

}  // namespace

std::int64_t ComponentReport::parameters() const {
  std::int64_t count = 0;
  for (const Weight& tensor : tensors) count += num_elements(tensor.shape);
  return count;
}

std::uint64_t ComponentReport::bytes() const {
  std::uint64_t count = 0;
  for (const Weight& tensor : tensors) count += tensor.size_bytes();
  return count;
}

std::map<std::string, int> ComponentReport::tensors_by_dtype() const {
  std::map<std::string, int> counts;
  for (const Weight& tensor : tensors) ++counts[type_name(tensor)];
  return counts;
}

std::map<std::string, std::uint64_t> ComponentReport::packed_bytes() const {
  std::map<std::string, std::uint64_t> bytes;
  for (const Weight& tensor : tensors) {
    if (tensor.format != WeightFormat::plain) bytes[type_name(tensor)] += tensor.size_bytes();
  }
  return bytes;
}

ModelReport report_model(const LoadOptions& load, PlanRequest planned) {
  const ModelFolder folder = resolve_model(load.model, load.parts);
  const ModelConfigs configs = ModelConfigs::read(folder);
  const ModelWeights weights(folder, planned.dtype);
  ModelReport report;
  report.info = info_of_configs(folder, configs);
  report.components = {{"text_encoder", weights.text_encoder.all()},
                       {"transformer", weights.transformer.all()},
                       {"vae", weights.vae.all()}};
  if (folder.has_prompt_enhancer) {
    report.components.push_back(
        {"pe", WeightFiles(folder.weights("pe"), "model", Component::pe).all()});
  }
  if (planned.height_px == 0) planned.height_px = configs.defaults.height_px;
  if (planned.width_px == 0) planned.width_px = configs.defaults.width_px;
  planned.guided = *configs.defaults.guidance_scale > 1;
  report.planned = planned;
  const ResolvedRequest generation = generation_of(planned, configs);
  const auto cpu = make_backend({});
  const GenerationRehearsal rehearsal(*cpu, configs, weights, generation, load.precision,
                                      load.quantization);
  report.plan = rehearsal.on_host(planned.limit_bytes);
  if (load.device != "cpu") add_device_plan(report, load, configs, weights, generation);
  if (folder.has_prompt_enhancer)
    add_enhancer(report.plan, *cpu, folder, planned.dtype, rehearsal.resting_bytes());
  const std::string name = report.info.name;
  try_loading(report);
  report.info.name = name;  // a hub id, where loading by path knows only the snapshot's folder
  return report;
}

void verify_files(ModelReport& report) {
  const std::string& folder = report.info.path;
  const auto manifest = folder == kEmbeddedModel ? std::nullopt : ModelManifest::read(folder);
  if (!manifest) {
    throw Error(ErrorKind::not_found, "--verify: " + folder + " has no " + kManifestName +
                                          " with checksums, which `ernie-image quantize` writes");
  }
  Verification verification{manifest->files.size(), 0, damaged_files(folder, *manifest)};
  for (const auto& [name, digest] : manifest->files) verification.bytes += digest.bytes;
  if (!verification.damaged.empty() && report.problem.empty())
    report.problem = std::to_string(verification.damaged.size()) + " damaged files";
  report.verification = std::move(verification);
}

json to_json(const ModelReport& report, bool with_tensors) {
  json components = json::array();
  for (const ComponentReport& component : report.components) {
    components.push_back(component_json(component, with_tensors));
  }
  const ModelInfo& info = report.info;
  json result = {{"name", info.name},
                 {"path", info.path},
                 {"content_hash", info.content_hash},
                 {"defaults", options_json(info.defaults)},
                 {"size_multiple", info.size_multiple_px},
                 {"latent_channels", info.latent_channels},
                 {"components", components},
                 {"unused_tensors", info.unused_tensors},
                 {"notes", info.notes},
                 {"memory_plan", plan_json(report)}};
  if (report.device_plan) result["device_plan"] = device_plan_json(report);
  if (report.verification) {
    result["verification"] = {{"files", report.verification->files},
                              {"bytes", report.verification->bytes},
                              {"damaged", report.verification->damaged}};
  }
  if (!report.problem.empty()) result["problem"] = report.problem;
  return result;
}

std::string to_text(const ModelReport& report, bool with_tensors) {
  const ModelInfo& info = report.info;
  char defaults[160];
  std::snprintf(defaults, sizeof(defaults),
                "Defaults: %dx%d, %d steps, guidance scale %g; sizes divide by %d\n",
                info.defaults.width_px, info.defaults.height_px, info.defaults.num_inference_steps,
                *info.defaults.guidance_scale, info.size_multiple_px);
  std::string notes;
  for (const std::string& note : info.notes) notes += visible(note) + "\n";
  std::string text = visible(info.name) + "\nPath: " + visible(info.path) +
                     "\nContent hash: " + info.content_hash + "\n" + notes + defaults +
                     components_text(report, with_tensors) + plan_text(report);
  if (report.device_plan) text += device_plan_text(report);
  if (!info.unused_tensors.empty()) {
    text += "Tensors that are not used\n";
    for (const std::string& name : info.unused_tensors) text += "  " + visible(name) + "\n";
  }
  if (report.verification) text += verification_text(*report.verification);
  return report.problem.empty() ? text
                                : text + "This model cannot be used: " + report.problem + "\n";
}

}  // namespace ernie_image
