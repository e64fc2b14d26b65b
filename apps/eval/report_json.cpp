#include "eval/report_json.h"

#include <nlohmann/json.hpp>

#include "core/enum_names.h"
#include "eval/figures.h"
#include "eval/summary.h"
#include "request/request.h"

namespace ernie_image {
namespace {

using nlohmann::json;

json settings_json(const EvaluationSettings& settings) {
  json result = options_json(settings.request);
  result["seed"] = settings.request.seeds.front();
  result["runs"] = settings.runs;
  result["threshold_nmse_percent"] = settings.threshold_nmse_percent;
  return result;
}

json prompt_json(const EvaluatedPrompt& prompt) {
  json result = {{"text", prompt.text}, {"enhanced", nullptr}};
  if (!prompt.enhancement) return result;
  const EnhancedPrompt& enhanced = prompt.enhancement->enhanced;
  result["enhanced"] = {
      {"text", enhanced.text},
      {"tokens", enhanced.ids.size()},
      {"finished", enhanced.finished},
      {"cached", prompt.enhancement->cached},
      {"prefill_seconds", enhanced.prefill_seconds},
      {"decode_seconds", enhanced.decode_seconds},
      {"tokens_per_second", json_or_null(tokens_per_second(*prompt.enhancement))}};
  return result;
}

json run_json(const RunSeconds& run) {
  json result = json::object();
  for (const TimeFigure& figure : time_figures()) result[figure.name] = figure.seconds(run);
  result["steps"] = run.stages.step_seconds;
  return result;
}

json performance_json(const Performance& performance) {
  json result = {{"load_seconds", performance.load_seconds},
                 {"repeatable", performance.repeatable},
                 {"memory",
                  {{"peak_anonymous_bytes", performance.peak_memory.anonymous_bytes},
                   {"peak_mapped_bytes", performance.peak_memory.file_bytes},
                   {"peak_activation_bytes", performance.peak_activation_bytes}}}};
  json& runs = result["runs"] = json::array();
  json& seconds = result["seconds"] = nullptr;
  json& rate = result["steps_per_second"] = nullptr;
  json& warm_up = result["warm_up"] = nullptr;
  // A candidate that stopped early has no timed runs.
  if (performance.runs.empty()) return result;
  warm_up = run_json(performance.warm_up);
  seconds = json::object();
  for (const RunSeconds& run : performance.runs) runs.push_back(run_json(run));
  for (const TimeFigure& figure : time_figures()) {
    const Statistics statistics = summarize(figure, performance);
    seconds[figure.name] = to_json(statistics);
    if (figure.name == std::string("step")) rate = 1 / statistics.mean;
  }
  return result;
}

json configuration_json(const ConfigurationRun& run) {
  const LoadOptions& load = run.configuration.load;
  json images = json::array();
  for (const Drawing& drawing : run.drawings) images.push_back(drawing.file);
  return {
      {"label", run.configuration.label},
      {"model",
       {{"name", run.info.name}, {"path", run.info.path}, {"content_hash", run.info.content_hash}}},
      {"dtype", name_of(load.precision)},
      {"quantization", name_of(load.quantization)},
      {"device", load.device},
      {"cpu_kernels", run.cpu_kernels},
      {"threads", load.num_threads},
      {"images", images},
      {"performance", performance_json(run.performance)}};
}

json accuracy_json(const PromptAccuracy& accuracy, std::size_t prompt) {
  json result = to_json(accuracy.image);
  result["prompt"] = prompt;
  result["latent_nmse_percent"] = accuracy.latent_nmse_percent;
  result["prompt_embedding_cosine"] = json_or_null(accuracy.prompt_embedding_cosine);
  result["difference_image"] = accuracy.difference_file;
  return result;
}

json accuracy_summary_json(const std::vector<PromptAccuracy>& accuracy) {
  json mean = json::object(), worst = json::object();
  for (const AccuracyFigure& figure : accuracy_figures()) {
    const auto summary = summarize(figure, accuracy);
    mean[figure.name] = summary ? json(summary->mean) : json(nullptr);
    worst[figure.name] = summary
                             ? json({{"value", summary->worst}, {"prompt", summary->worst_prompt}})
                             : json(nullptr);
  }
  json prompts = json::array();
  for (std::size_t i = 0; i < accuracy.size(); ++i) {
    prompts.push_back(accuracy_json(accuracy[i], i));
  }
  return {{"prompts", prompts},
          {"mean", mean},
          {"worst", worst},
          {"mean_latent_nmse_percent", mean_latent_nmse(accuracy)}};
}

json candidate_json(const CandidateRun& candidate) {
  json result = configuration_json(candidate.run);
  result["threshold_nmse_percent"] = candidate.threshold_nmse_percent;
  result["status"] = candidate.passed() ? "PASSED" : "FAILED";
  result["error"] = candidate.error.empty() ? json(nullptr) : json(candidate.error);
  result["accuracy"] = accuracy_summary_json(candidate.accuracy);
  return result;
}

}  // namespace

json report_json(const Evaluation& evaluation) {
  json prompts = json::array(), candidates = json::array();
  for (const EvaluatedPrompt& prompt : evaluation.prompts) prompts.push_back(prompt_json(prompt));
  for (const CandidateRun& candidate : evaluation.candidates) {
    candidates.push_back(candidate_json(candidate));
  }
  return {
      {"format", kReportFormat},
      {"format_version", kReportVersion},
      {"created", evaluation.created},
      {"program", {{"name", "ernie-image"}, {"version", version()}}},
      {"machine", to_json(evaluation.machine)},
      {"settings", settings_json(evaluation.settings)},
      {"prompts", prompts},
      {"enhancer_tokens_per_second", json_or_null(enhancer_tokens_per_second(evaluation.prompts))},
      {"baseline", configuration_json(evaluation.baseline)},
      {"candidates", candidates},
      {"status", evaluation.passed() ? "PASSED" : "FAILED"}};
}

}  // namespace ernie_image
