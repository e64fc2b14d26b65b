#include "eval/evaluation.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "common/flags.h"
#include "common/generation.h"
#include "common/image_record.h"
#include "core/trace.h"
#include "eval/figures.h"
#include "eval/heat_map.h"
#include "eval/run_log.h"
#include "eval/tensor_difference.h"
#include "memory/memory_sampler.h"
#include "request/request.h"

namespace ernie_image {
namespace {

constexpr int kPngQuality = 100;  // PNG is lossless whatever this says

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Keeps the text states of the prompt and the latents after each step.
class StepTrace : public TensorTrace {
 public:
  explicit StepTrace(Drawing& drawing) : drawing_(drawing) {}

  bool wants(std::string_view name) const override {
    return name == "text_hidden.prompt.0" || is_step_latents(name);
  }
  void record(const std::string& name, const Tensor& host) override {
    if (is_step_latents(name)) {
      drawing_.latents.push_back(host);
    } else {
      drawing_.text_hidden = host;
    }
  }

 private:
  static bool is_step_latents(std::string_view name) {
    return name.starts_with("step") && name.ends_with(".latents");
  }

  Drawing& drawing_;
};

std::string image_name(std::size_t prompt, const std::string& rest) {
  char number[8];
  std::snprintf(number, sizeof(number), "%02zu-", (prompt + 1) % 100000);
  return number + rest + ".png";
}

/// One configuration with its model loaded.
class Runner {
 public:
  /// `role`: "baseline", "candidate1"...
  Runner(const EvaluationSettings& settings, const Configuration& configuration, std::string role,
         const InterruptGuard& interrupt, RunLog& log)
      : settings_(settings),
        role_(std::move(role)),
        interrupt_(interrupt),
        log_(log),
        pipeline_(Pipeline::load(configuration.load)),
        request_(with_defaults(settings.request, pipeline_.info().defaults)) {
    run_.configuration = configuration;
    run_.info = pipeline_.info();
    run_.cpu_kernels = kernels_used(configuration.load);
    run_.performance.load_seconds = run_.info.load_seconds;
    log_.line(title() + ": loaded " + run_.info.name + " in " + figure(run_.info.load_seconds) +
              " s");
  }

  const Request& request() const { return request_; }
  std::string title() const { return role_ + " " + run_.configuration.label; }

  /// The prompts as every configuration will draw them.
  std::vector<EvaluatedPrompt> prepare(const std::vector<std::string>& prompts) {
    std::vector<EvaluatedPrompt> prepared;
    for (const std::string& prompt : prompts) prepared.push_back({prompt, {}});
    if (!should_enhance(settings_.enhance, run_.info)) return prepared;
    const Enhancer enhancer(pipeline_, run_.configuration.load, settings_.enhance,
                            interrupt_.token());
    for (EvaluatedPrompt& prompt : prepared) {
      if (is_blank(prompt.text)) continue;
      prompt.enhancement = enhancer.enhance(prompt.text, request_.width_px, request_.height_px, {});
      log_.line("enhanced \"" + prompt.text + "\" in " + figure(prompt.enhancement->seconds) +
                " s: \"" + prompt.drawn() + "\"");
      note_defects(*prompt.enhancement);
    }
    return prepared;
  }

  /// The first prompt warms up and is then timed; the others are drawn once.
  void draw_all(const std::vector<EvaluatedPrompt>& prompts) {
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      request_.prompts = {prompts[i].drawn()};
      Drawing drawing;
      StepTrace trace(drawing);
      const RunSeconds seconds =
          draw(i == 0 ? "warm-up" : "prompt " + std::to_string(i + 1), &trace, drawing.image);
      if (i == 0) run_.performance.warm_up = seconds;
      save(i, drawing);
      run_.drawings.push_back(std::move(drawing));
      if (i == 0) measure();
    }
  }

  /// What was run so far.
  ConfigurationRun take() {
    run_.performance.peak_memory = memory_.peak();
    return std::move(run_);
  }

 private:
  void measure() {
    Image image;
    for (int i = 1; i <= settings_.runs; ++i) {
      run_.performance.runs.push_back(draw("run " + std::to_string(i), nullptr, image));
      const bool is_equal = image.rgb == run_.drawings.front().image.rgb;
      run_.performance.repeatable = run_.performance.repeatable && is_equal;
    }
  }

  RunSeconds draw(const std::string& what, Trace* trace, Image& image) {
    Request request = request_;
    request.trace = trace;
    const auto start = std::chrono::steady_clock::now();
    Result result = generate_with_progress(pipeline_, request, interrupt_, !settings_.quiet);
    RunSeconds seconds{seconds_since(start), result.timings};
    std::uint64_t& peak = run_.performance.peak_activation_bytes;
    peak = std::max(peak, result.peak_activation_bytes);
    image = std::move(result.images.front());
    log_.line(title() + ": " + what + " " + figure(seconds.total) + " s (text encoder " +
              figure(seconds.stages.text_encoder_seconds) + ", VAE decoder " +
              figure(seconds.stages.vae_decoder_seconds) + ")");
    return seconds;
  }

  void save(std::size_t prompt, Drawing& drawing) {
    drawing.file = image_name(prompt, role_ + "-" + file_name_of(run_.configuration.label));
    const ImageRecord record = make_image_record(run_.info, run_.configuration.load, request_);
    write_image(settings_.output_dir + "/" + drawing.file, drawing.image, kPngQuality,
                image_metadata(record));
  }

  const EvaluationSettings& settings_;
  std::string role_;
  const InterruptGuard& interrupt_;
  RunLog& log_;
  MemorySampler memory_;
  Pipeline pipeline_;
  Request request_;
  ConfigurationRun run_;
};

PromptAccuracy compare_drawings(const Drawing& candidate, const Drawing& baseline) {
  PromptAccuracy accuracy;
  accuracy.image = compare_images(candidate.image, baseline.image);
  accuracy.difference = heat_map(candidate.image, baseline.image);
  const std::size_t steps = std::min(candidate.latents.size(), baseline.latents.size());
  for (std::size_t i = 0; i < steps; ++i) {
    const auto difference = compare_tensors(candidate.latents[i], baseline.latents[i]);
    if (difference) accuracy.latent_nmse_percent.push_back(100 * difference->nmse);
  }
  const auto text = compare_tensors(candidate.text_hidden, baseline.text_hidden);
  if (text) accuracy.prompt_embedding_cosine = text->cosine;
  return accuracy;
}

void compare_all(const Evaluation& evaluation, const std::string& role, CandidateRun& candidate,
                 RunLog& log) {
  const Configuration& configuration = candidate.run.configuration;
  for (std::size_t i = 0; i < candidate.run.drawings.size(); ++i) {
    PromptAccuracy accuracy =
        compare_drawings(candidate.run.drawings[i], evaluation.baseline.drawings[i]);
    accuracy.difference_file =
        image_name(i, role + "-" + file_name_of(configuration.label) + "-difference");
    write_image(evaluation.settings.output_dir + "/" + accuracy.difference_file,
                accuracy.difference, kPngQuality, {});
    log.line(role + " " + configuration.label + ": prompt " + std::to_string(i + 1) + " nMSE " +
             figure(accuracy.image.nmse_percent) + " %, PSNR " +
             figure_or_dash(accuracy.image.psnr_db) + " dB, SSIM " +
             figure_or_dash(accuracy.image.ssim));
    candidate.accuracy.push_back(std::move(accuracy));
  }
}

CandidateRun run_candidate(const Evaluation& evaluation, std::size_t index,
                           const InterruptGuard& interrupt, RunLog& log) {
  const EvaluationSettings& settings = evaluation.settings;
  const std::string role = "candidate" + std::to_string(index + 1);
  const Configuration& configuration = settings.candidates[index];
  CandidateRun candidate;
  candidate.threshold_nmse_percent =
      configuration.threshold_nmse_percent.value_or(settings.threshold_nmse_percent);
  Runner runner(settings, configuration, role, interrupt, log);
  try {
    runner.draw_all(evaluation.prompts);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::cancelled || error.kind() == ErrorKind::io) throw;
    candidate.error = error.what();
    log.line(runner.title() + " stopped: " + candidate.error);
  }
  candidate.run = runner.take();
  compare_all(evaluation, role, candidate, log);
  log.line(role + " " + configuration.label + (candidate.passed() ? ": PASSED" : ": FAILED"));
  return candidate;
}

/// Kernels, devices, folders and sizes that will not do are found before any work is done. Weights
/// are not quantised for that.
void require_candidates(const EvaluationSettings& settings) {
  for (const Configuration& configuration : settings.candidates) {
    Request request = settings.request;
    request.prompts = {settings.prompts.front()};
    LoadOptions load = configuration.load;
    load.quantization = Quantization::none;
    Pipeline::load(load).check(request);
  }
}

void run_baseline(Evaluation& evaluation, const InterruptGuard& interrupt, RunLog& log) {
  EvaluationSettings& settings = evaluation.settings;
  Runner runner(settings, settings.baseline, "baseline", interrupt, log);
  settings.request = runner.request();
  require_candidates(settings);
  evaluation.prompts = runner.prepare(settings.prompts);
  runner.draw_all(evaluation.prompts);
  evaluation.baseline = runner.take();
}

}  // namespace

bool CandidateRun::passed() const {
  return error.empty() && !accuracy.empty() &&
         std::ranges::all_of(accuracy, [&](const PromptAccuracy& prompt) {
           return prompt.image.nmse_percent < threshold_nmse_percent;
         });
}

bool Evaluation::passed() const { return std::ranges::all_of(candidates, &CandidateRun::passed); }

Evaluation evaluate(const EvaluationSettings& settings, const InterruptGuard& interrupt,
                    RunLog& log) {
  Evaluation evaluation{settings, this_machine(), utc_time(), {}, {}, {}};
  log.line(std::string("ernie-image ") + version() + " on " + evaluation.machine.cpu + ", " +
           std::to_string(evaluation.machine.usable_cpus) + " CPUs");
  run_baseline(evaluation, interrupt, log);
  for (std::size_t i = 0; i < settings.candidates.size(); ++i) {
    evaluation.candidates.push_back(run_candidate(evaluation, i, interrupt, log));
  }
  return evaluation;
}

}  // namespace ernie_image
