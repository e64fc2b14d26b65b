#include "commands/run_report.h"

#include <algorithm>
#include <numeric>

#include <nlohmann/json.hpp>

#include "common/console.h"
#include "core/enum_names.h"
#include "request/request.h"

namespace ernie_image {
namespace {

using nlohmann::json;

double transformer_seconds(const Timings& timings) {
  return std::accumulate(timings.step_seconds.begin(), timings.step_seconds.end(), 0.0);
}

json seconds_json(const RunReport& report) {
  const Timings& timings = report.result.timings;
  return {{"load", report.info.load_seconds},
          {"text_encoder", timings.text_encoder_seconds},
          {"transformer", transformer_seconds(timings)},
          {"steps", timings.step_seconds},
          {"vae_decoder", timings.vae_decoder_seconds},
          {"total", report.total_seconds}};
}

json stage_json(const StageMemory& stage) {
  return {{"name", stage.stage},
          {"predicted_bytes", stage.predicted_bytes},
          {"measured_bytes", stage.measured_bytes},
          {"layers", stage.layers},
          {"streamed_layers", stage.streamed_layers}};
}

std::vector<StageMemory> all_stages(const RunReport& report) {
  std::vector<StageMemory> stages = report.enhancing;
  stages.insert(stages.end(), report.result.memory.begin(), report.result.memory.end());
  return stages;
}

std::uint64_t predicted_peak(const RunReport& report) {
  std::uint64_t peak = 0;
  for (const StageMemory& stage : all_stages(report)) peak = std::max(peak, stage.predicted_bytes);
  return peak;
}

json memory_json(const RunReport& report) {
  json stages = json::array();
  for (const StageMemory& stage : all_stages(report)) stages.push_back(stage_json(stage));
  return {{"stages", stages},
          {"predicted_peak_bytes", predicted_peak(report)},
          {"measured_peak_bytes", report.peak_memory.total_bytes},
          {"peak_anonymous_bytes", report.peak_memory.anonymous_bytes},
          {"peak_mapped_bytes", report.peak_memory.file_bytes},
          {"peak_activation_bytes", report.result.peak_activation_bytes}};
}

json image_json(const RunReport& report, int index) {
  const Image& image = report.result.images[index];
  json entry = {{"path", report.paths.images[index]},
                {"prompt", prompt_of(report.request, index)},
                {"negative_prompt", negative_prompt_of(report.request, index)},
                {"seed", seed_of(report.request, index)},
                {"width", image.width_px},
                {"height", image.height_px}};
  if (!report.original_prompts.empty()) {
    entry["original_prompt"] = report.original_prompts[static_cast<std::size_t>(
        index / report.request.num_images_per_prompt)];
  }
  if (!report.paths.previews.empty()) entry["preview"] = report.paths.previews[index];
  return entry;
}

json adapters_json(const RunReport& report) {
  json adapters = json::array();
  for (std::size_t i = 0; i < report.result.adapters.size(); ++i) {
    const AdapterUse& use = report.result.adapters[i];
    adapters.push_back({{"name", use.name},
                        {"path", report.request.adapters[i].path},
                        {"sha256", use.sha256},
                        {"strength", use.strength},
                        {"keys", use.keys},
                        {"used_keys", use.used_keys},
                        {"unused_keys", use.unused_keys}});
    if (report.request.adapters[i].prompt >= 0)
      adapters.back()["prompt"] = report.request.adapters[i].prompt;
  }
  return adapters;
}

std::string adapters_text(const RunReport& report) {
  std::string text;
  for (const AdapterUse& use : report.result.adapters) {
    text += "LoRA " + use.name + ": " + std::to_string(use.used_keys) + " of " +
            std::to_string(use.keys) + " keys used\n";
  }
  return text;
}

}  // namespace

json report_json(const RunReport& report) {
  const Request& request = report.request;
  json images = json::array();
  for (int i = 0; i < image_count(request); ++i) images.push_back(image_json(report, i));
  json result = {{"version", version()},
                 {"model",
                  {{"name", report.info.name},
                   {"path", report.info.path},
                   {"content_hash", report.info.content_hash}}},
                 {"device", report.flags.load.device},
                 {"cpu_kernels", kernels_used(report.flags.load)},
                 {"dtype", name_of(report.flags.load.precision)},
                 {"quantization", name_of(report.flags.load.quantization)},
                 {"seeds", request.seeds},
                 {"prompt_tokens", report.result.prompt_tokens},
                 {"seconds", seconds_json(report)},
                 {"memory", memory_json(report)},
                 {"images", images}};
  if (!report.result.adapters.empty()) result["loras"] = adapters_json(report);
  result.update(options_json(request));
  if (!report.flags.save_tensors.empty()) result["tensors"] = report.flags.save_tensors;
  return result;
}

std::string report_text(const RunReport& report) {
  std::string text;
  for (int i = 0; i < image_count(report.request); ++i) {
    const Image& image = report.result.images[i];
    text += report.paths.images[i] + ": " + std::to_string(image.width_px) + "x" +
            std::to_string(image.height_px) + ", seed " +
            std::to_string(seed_of(report.request, i)) + "\n";
  }
  const Timings& timings = report.result.timings;
  return text + adapters_text(report) + "load " + human_seconds(report.info.load_seconds) +
         ", text encoder " + human_seconds(timings.text_encoder_seconds) + ", " +
         std::to_string(timings.step_seconds.size()) + " steps " +
         human_seconds(transformer_seconds(timings)) + ", VAE decoder " +
         human_seconds(timings.vae_decoder_seconds) + ", in all " +
         human_seconds(report.total_seconds) + "; peak memory " +
         human_bytes(report.peak_memory.total_bytes) + ", planned " +
         human_bytes(predicted_peak(report)) + "\n";
}

}  // namespace ernie_image
