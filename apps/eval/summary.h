// The figures of an evaluation over all its prompts and runs.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/evaluation.h"
#include "eval/statistics.h"

namespace ernie_image {

/// One figure of accuracy that every prompt has.
struct AccuracyFigure {
  const char* name;  ///< as in the report
  const char* title;
  bool lower_is_better;
  std::optional<double> (*value)(const PromptAccuracy& accuracy);
};

std::span<const AccuracyFigure> accuracy_figures();

/// Over the prompts that have the figure.
struct FigureSummary {
  double mean = 0;
  double worst = 0;
  std::size_t worst_prompt = 0;
};

/// Nothing if no prompt has it.
std::optional<FigureSummary> summarize(const AccuracyFigure& figure,
                                       std::span<const PromptAccuracy> accuracy);

/// One time of the timed runs.
struct TimeFigure {
  const char* name;  ///< as in the report
  const char* title;
  double (*seconds)(const RunSeconds& run);
};

/// total, text_encoder, transformer, vae_decoder, step
std::span<const TimeFigure> time_figures();

/// Those that add up to the whole: text_encoder, transformer, vae_decoder.
std::span<const TimeFigure> stage_time_figures();

Statistics summarize(const TimeFigure& figure, const Performance& performance);

/// Mean over the prompts, after each step; as long as the shortest of them.
std::vector<double> mean_latent_nmse(std::span<const PromptAccuracy> accuracy);

/// Over all enhanced prompts; nothing if none was written by this program.
std::optional<double> enhancer_tokens_per_second(std::span<const EvaluatedPrompt> prompts);

}  // namespace ernie_image
