#include "eval/summary.h"

#include <algorithm>
#include <array>
#include <numeric>

namespace ernie_image {
namespace {

using Accuracy = PromptAccuracy;
using Value = std::optional<double>;

constexpr std::array kAccuracyFigures = {
    AccuracyFigure{"nmse_percent", "nMSE %", true,
                   [](const Accuracy& a) -> Value { return a.image.nmse_percent; }},
    AccuracyFigure{"psnr_db", "PSNR dB", false,
                   [](const Accuracy& a) -> Value { return a.image.psnr_db; }},
    AccuracyFigure{"ssim", "SSIM", false, [](const Accuracy& a) -> Value { return a.image.ssim; }},
    AccuracyFigure{"ms_ssim", "MS-SSIM", false,
                   [](const Accuracy& a) -> Value { return a.image.ms_ssim; }},
    AccuracyFigure{"mean_absolute_difference", "mean |d|", true,
                   [](const Accuracy& a) -> Value { return a.image.mean_absolute_difference; }},
    AccuracyFigure{"max_absolute_difference", "max |d|", true,
                   [](const Accuracy& a) -> Value { return a.image.max_absolute_difference; }},
    AccuracyFigure{"prompt_embedding_cosine", "embedding cosine", false,
                   [](const Accuracy& a) -> Value { return a.prompt_embedding_cosine; }},
    AccuracyFigure{"final_latent_nmse_percent", "final latent nMSE %", true,
                   [](const Accuracy& a) -> Value {
                     if (a.latent_nmse_percent.empty()) return std::nullopt;
                     return a.latent_nmse_percent.back();
                   }}};

double transformer_seconds(const RunSeconds& run) {
  const std::vector<double>& steps = run.stages.step_seconds;
  return std::accumulate(steps.begin(), steps.end(), 0.0);
}

constexpr std::array kTimeFigures = {
    TimeFigure{"total", "whole picture", [](const RunSeconds& run) { return run.total; }},
    TimeFigure{"text_encoder", "text encoder",
               [](const RunSeconds& run) { return run.stages.text_encoder_seconds; }},
    TimeFigure{"transformer", "transformer", &transformer_seconds},
    TimeFigure{"vae_decoder", "VAE decoder",
               [](const RunSeconds& run) { return run.stages.vae_decoder_seconds; }},
    TimeFigure{"step", "one step", [](const RunSeconds& run) {
                 return transformer_seconds(run) /
                        static_cast<double>(run.stages.step_seconds.size());
               }}};

}  // namespace

std::span<const AccuracyFigure> accuracy_figures() { return kAccuracyFigures; }

std::optional<FigureSummary> summarize(const AccuracyFigure& figure,
                                       std::span<const PromptAccuracy> accuracy) {
  FigureSummary summary;
  int count = 0;
  for (std::size_t i = 0; i < accuracy.size(); ++i) {
    const Value value = figure.value(accuracy[i]);
    if (!value) continue;
    const bool is_worse = figure.lower_is_better ? *value > summary.worst : *value < summary.worst;
    if (count == 0 || is_worse) {
      summary.worst = *value;
      summary.worst_prompt = i;
    }
    summary.mean += *value;
    ++count;
  }
  if (count == 0) return std::nullopt;
  summary.mean /= count;
  return summary;
}

std::span<const TimeFigure> time_figures() { return kTimeFigures; }

std::span<const TimeFigure> stage_time_figures() {
  return std::span(kTimeFigures).subspan(1, 3);  // between total and step
}

Statistics summarize(const TimeFigure& figure, const Performance& performance) {
  std::vector<double> seconds;
  for (const RunSeconds& run : performance.runs) seconds.push_back(figure.seconds(run));
  return statistics_of(std::move(seconds));
}

std::vector<double> mean_latent_nmse(std::span<const PromptAccuracy> accuracy) {
  std::vector<double> mean;
  for (std::size_t i = 0; i < accuracy.size(); ++i) {
    const std::vector<double>& values = accuracy[i].latent_nmse_percent;
    if (i == 0) mean.assign(values.size(), 0.0);
    mean.resize(std::min(mean.size(), values.size()));
    for (std::size_t step = 0; step < mean.size(); ++step) {
      mean[step] += values[step] / static_cast<double>(accuracy.size());
    }
  }
  return mean;
}

std::optional<double> enhancer_tokens_per_second(std::span<const EvaluatedPrompt> prompts) {
  double tokens = 0, seconds = 0;
  for (const EvaluatedPrompt& prompt : prompts) {
    const Value rate = prompt.enhancement && !prompt.enhancement->cached
                           ? tokens_per_second(*prompt.enhancement)
                           : std::nullopt;
    if (!rate) continue;
    tokens += *rate * prompt.enhancement->enhanced.decode_seconds;
    seconds += prompt.enhancement->enhanced.decode_seconds;
  }
  if (seconds <= 0) return std::nullopt;
  return tokens / seconds;
}

}  // namespace ernie_image
