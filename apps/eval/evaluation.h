// Runs a baseline and its candidates on the same prompts and seed, and measures them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/enhancer.h"
#include "common/interrupt.h"
#include "core/tensor.h"
#include "ernie_image/pipeline.h"
#include "eval/configuration.h"
#include "eval/machine.h"
#include "eval/metrics.h"
#include "memory/memory_sampler.h"

namespace ernie_image {

class RunLog;

struct EvaluationSettings {
  /// Size, steps, guidance and the one seed of every run; what is left open is the baseline model's
  /// own.
  Request request;
  std::vector<std::string> prompts;
  EnhanceFlags enhance;
  Configuration baseline;
  std::vector<Configuration> candidates;
  int runs = 3;  ///< timed ones
  double threshold_nmse_percent = 1.0;
  std::string output_dir;
  bool quiet = false;
};

struct EvaluatedPrompt {
  std::string text;
  std::optional<Enhancement> enhancement;

  /// What every configuration draws.
  const std::string& drawn() const { return enhancement ? enhancement->enhanced.text : text; }
};

struct RunSeconds {
  double total = 0;
  Timings stages;
};

struct Performance {
  double load_seconds = 0;
  RunSeconds warm_up;            ///< the first run after loading, in no statistic
  std::vector<RunSeconds> runs;  ///< of the first prompt
  bool repeatable = true;        ///< every run of the first prompt made the same pixels
  PeakMemory peak_memory;        ///< of the whole process while this configuration ran
  std::uint64_t peak_activation_bytes = 0;
};

/// What one run leaves behind to compare.
struct Drawing {
  Image image;
  std::string file;             ///< its name in the output folder
  std::vector<Tensor> latents;  ///< after each step
  Tensor text_hidden;
};

struct ConfigurationRun {
  Configuration configuration;
  ModelInfo info;
  std::string cpu_kernels;
  Performance performance;
  std::vector<Drawing> drawings;  ///< one a prompt
};

struct PromptAccuracy {
  ImageMetrics image;
  /// After each step: mean((a - b)^2) / mean(b^2) times 100, b the baseline. Empty if the latents
  /// of the two models have different shapes.
  std::vector<double> latent_nmse_percent;
  std::optional<double> prompt_embedding_cosine;  ///< nothing if the text states differ in shape
  Image difference;                               ///< heat map
  std::string difference_file;
};

struct CandidateRun {
  ConfigurationRun run;
  std::vector<PromptAccuracy> accuracy;  ///< one a prompt; fewer after an error
  double threshold_nmse_percent = 1.0;
  std::string error;  ///< why it stopped; empty if it did not

  /// No error, and every prompt below the threshold.
  bool passed() const;
};

struct Evaluation {
  EvaluationSettings settings;
  Machine machine;
  std::string created;  ///< UTC
  std::vector<EvaluatedPrompt> prompts;
  ConfigurationRun baseline;
  std::vector<CandidateRun> candidates;

  bool passed() const;
};

/// Runs everything, one configuration after the other so that only one model is loaded at a time,
/// and writes the pictures into the output folder as they are made. A candidate that fails is
/// reported as such; an error of the baseline is thrown.
Evaluation evaluate(const EvaluationSettings& settings, const InterruptGuard& interrupt,
                    RunLog& log);

}  // namespace ernie_image
