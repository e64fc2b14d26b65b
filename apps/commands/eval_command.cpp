#include "commands/commands.h"

#include <filesystem>
#include <iostream>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "common/console.h"
#include "common/exit_code.h"
#include "common/interrupt.h"
#include "common/output_paths.h"
#include "common/parse_values.h"
#include "common/text_input.h"
#include "eval/evaluation.h"
#include "eval/figures.h"
#include "eval/report_changes.h"
#include "eval/report_html.h"
#include "eval/report_json.h"
#include "eval/run_log.h"
#include "eval/summary.h"
#include "io/atomic_file.h"

namespace ernie_image {
namespace {

constexpr const char* kDefaultPrompt = "a red apple on a blue background";
constexpr int kMaxRuns = 1000;
constexpr double kMaxPercent = 1e6;

constexpr const char* kEvalExamples =
    "Examples:\n"
    "  ernie-image eval -m baidu/ERNIE-Image-Turbo -H 256 -W 256 --num-steps 8 --output-dir "
    "report\n"
    "  ernie-image eval --baseline fp32 --candidate bf16 --candidate dtype=bf16,kernels=avx2,"
    "threshold=0.5\n"
    "  ernie-image eval --prompt-file docs/prompts/emoji.txt --runs 1 --output-dir report\n"
    "  ernie-image eval -m baidu/ERNIE-Image-Turbo --prompt-file docs/prompts/suite.txt --runs 1 "
    "--output-dir suite\n"
    "  ernie-image eval --compare old/eval_report.json new/eval_report.json\n"
    "Exit codes: 0 every candidate passed, 1 one failed or got worse, 2 wrong usage.";

struct EvalFlags {
  LoadOptions load;
  EvaluationSettings settings;
  std::string prompt_file;
  std::string baseline = "fp32";
  std::vector<std::string> candidates;
  std::vector<std::string> compare;
  ChangeTolerance tolerance;
  bool json = false;
};

std::vector<std::string> all_prompts(const EvalFlags& flags) {
  std::vector<std::string> prompts = flags.settings.prompts;
  if (!flags.prompt_file.empty()) {
    const std::vector<std::string> lines =
        split_prompt_lines(read_text("--prompt-file", flags.prompt_file));
    prompts.insert(prompts.end(), lines.begin(), lines.end());
    if (prompts.empty()) {
      throw Error(ErrorKind::invalid_argument,
                  "--prompt-file: " + flags.prompt_file + " has no prompt; write one a line");
    }
  }
  if (prompts.empty()) prompts.emplace_back(kDefaultPrompt);
  for (const std::string& prompt : prompts) require_utf8("a prompt", prompt);
  return prompts;
}

void make_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error || !std::filesystem::is_directory(path)) {
    throw Error(ErrorKind::io, "--output-dir: cannot make the folder " + path +
                                   (error ? ": " + error.message() : ""));
  }
  for (const char* name : {"eval_report.json", "report.html", "log.txt"})
    require_writable("--output-dir", path + "/" + name);
}

void complete_settings(EvalFlags& flags) {
  EvaluationSettings& settings = flags.settings;
  settings.prompts = all_prompts(flags);
  if (!settings.enhance.enabled) settings.enhance.enabled = false;
  complete_enhance_flags(settings.enhance);
  settings.baseline = parse_configuration("--baseline", flags.baseline, flags.load);
  if (flags.candidates.empty()) flags.candidates = {"bf16"};
  for (const std::string& text : flags.candidates) {
    settings.candidates.push_back(parse_configuration("--candidate", text, flags.load));
  }
  settings.quiet = settings.quiet || flags.json;
  make_folder(settings.output_dir);
}

void write_text(const std::string& path, const std::string& text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

std::string summary_text(const Evaluation& evaluation) {
  std::string text;
  for (const CandidateRun& candidate : evaluation.candidates) {
    text += candidate.run.configuration.label + (candidate.passed() ? ": PASSED" : ": FAILED");
    for (const AccuracyFigure& accuracy : accuracy_figures().first(3)) {
      const auto summary = summarize(accuracy, candidate.accuracy);
      if (summary) text += std::string(", ") + accuracy.title + " " + figure(summary->mean);
    }
    text += candidate.error.empty() ? "\n" : ", " + candidate.error + "\n";
  }
  return text + "Report: " + evaluation.settings.output_dir + "/report.html\n";
}

int run_evaluation(EvalFlags& flags) {
  complete_settings(flags);
  const EvaluationSettings& settings = flags.settings;
  const InterruptGuard interrupt;
  RunLog log(settings.output_dir + "/log.txt", !settings.quiet);
  const Evaluation evaluation = evaluate(settings, interrupt, log);
  const nlohmann::json report = report_json(evaluation);
  write_text(settings.output_dir + "/eval_report.json", report.dump(2) + "\n");
  write_text(settings.output_dir + "/report.html", report_html(evaluation));
  log.line(evaluation.passed() ? "PASSED" : "FAILED");
  if (flags.json) {
    print_json(report);
  } else {
    std::cerr << summary_text(evaluation);
  }
  return evaluation.passed() ? kExitSuccess : kExitFailure;
}

int run_comparison(const EvalFlags& flags) {
  const auto report = [&](std::size_t i) {
    return naming_flag("--compare", [&] { return read_report(flags.compare[i]); });
  };
  const ReportChanges changes = compare_reports(report(0), report(1), flags.tolerance);
  if (flags.json) {
    print_json(to_json(changes));
  } else {
    print(to_text(changes));
  }
  return changes.has_worse() ? kExitFailure : kExitSuccess;
}

void add_request_flags(CLI::App& app, EvalFlags& flags) {
  Request& request = flags.settings.request;
  CLI::Option* const plain =
      app.add_option_function<std::string>(
             "prompt", [&flags](const std::string& text) { flags.settings.prompts = {text}; },
             "what to draw, in quotes")
          ->type_name("TEXT");
  app.add_option("--prompt,-p", flags.settings.prompts, "the same; repeat it for several")
      ->allow_extra_args(false)
      ->excludes(plain)
      ->type_name("TEXT");
  app.add_option("--prompt-file", flags.prompt_file,
                 "prompts, one a line, UTF-8; blank lines and lines with # in front are skipped")
      ->type_name("FILE");
  add_option_flags(app, request);
  add_single_seed_flag(app, request);
}

void add_comparison_flags(CLI::App& app, EvalFlags& flags) {
  app.add_option("--compare", flags.compare,
                 "compare two reports instead of running anything: what got better or worse")
      ->expected(2)
      ->type_name("OLD.json NEW.json");
  ChangeTolerance& tolerance = flags.tolerance;
  const auto add = [&app](const char* name, double& target, const char* help) {
    add_number_flag(
        app, name, [&target](double value) { target = value; }, 0, kMaxPercent, help);
  };
  add("--tolerance-accuracy", tolerance.accuracy_percent,
      "of --compare: percent that an error may grow, default 10");
  add("--tolerance-time", tolerance.time_percent,
      "of --compare: percent that a time may grow, default 10");
  add("--tolerance-memory", tolerance.memory_percent,
      "of --compare: percent that a peak of memory may grow, default 10");
}

void add_eval_flags(CLI::App& app, EvalFlags& flags) {
  EvaluationSettings& settings = flags.settings;
  settings.output_dir = "eval";
  add_load_flags(app, flags.load);
  add_request_flags(app, flags);
  app.add_option("--baseline", flags.baseline,
                 std::string("what the candidates are held to, default fp32: ") + kSpecHelp)
      ->type_name("SPEC");
  app.add_option("--candidate", flags.candidates,
                 "what is measured, default bf16; repeat it for several")
      ->allow_extra_args(false)
      ->type_name("SPEC");
  add_integer_flag(app, "--runs", settings.runs, 1, kMaxRuns,
                   "timed runs after one to warm up, default 3");
  add_number_flag(
      app, "--threshold-nmse",
      [&settings](double percent) { settings.threshold_nmse_percent = percent; }, 0, 100,
      "a candidate passes below this nMSE of every picture, in percent; default 1");
  add_enhance_switch(app, settings.enhance, "default: off");
  add_enhancer_flags(app, settings.enhance);
  app.add_option("--output-dir", settings.output_dir,
                 "folder for eval_report.json, report.html, log.txt and the pictures, default eval")
      ->type_name("DIR");
  add_comparison_flags(app, flags);
  app.add_flag("--json", flags.json, "print the report, or the comparison, as JSON");
  app.add_flag("--quiet,-q", settings.quiet, "no progress, only the result");
}

}  // namespace

Command add_eval_command(CLI::App& program) {
  CLI::App* app =
      program.add_subcommand("eval", "Measure accuracy and speed of candidates against a baseline");
  const auto flags = std::make_shared<EvalFlags>();
  add_eval_flags(*app, *flags);
  app->footer(kEvalExamples);
  return {app, [flags] {
            return flags->compare.empty() ? run_evaluation(*flags) : run_comparison(*flags);
          }};
}

}  // namespace ernie_image
