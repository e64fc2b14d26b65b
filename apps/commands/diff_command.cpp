#include "commands/commands.h"

#include <cstdio>
#include <optional>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "common/console.h"
#include "common/exit_code.h"
#include "common/interrupt.h"
#include "common/parse_values.h"
#include "common/text_input.h"
#include "eval/figures.h"
#include "eval/stage_differences.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr const char* kDiffExamples =
    "Examples:\n"
    "  ernie-image diff --a fp32 --b bf16\n"
    "  ernie-image diff --a kernels=portable --b kernels=avx2 --tolerance 1e-5 --inside-blocks\n"
    "  ernie-image diff -m baidu/ERNIE-Image-Turbo --a device=cpu --b device=ascend --num-steps 1\n"
    "Exit codes: 0 all within the tolerance, 1 not, 2 wrong usage.";

struct DiffFlags {
  LoadOptions load;
  DiffSettings settings;
  std::optional<std::string> prompt;
  std::string a, b;
  double tolerance = 0.02;
  bool json = false;
};

std::string non_finite_text(const TensorDifference& difference) {
  if (difference.first_non_finite_a < 0 && difference.first_non_finite_b < 0) return "";
  const auto place = [](std::int64_t index) {
    return index < 0 ? std::string("none") : "at " + std::to_string(index);
  };
  return "  not finite: a " + place(difference.first_non_finite_a) + ", b " +
         place(difference.first_non_finite_b);
}

std::string row_text(const StageDifference& stage, double tolerance) {
  char line[256];
  if (!stage.difference) {
    std::snprintf(line, sizeof(line), "%-28s shapes differ: ", stage.name.c_str());
    return line + to_string(stage.shape_a) + " and " + to_string(stage.shape_b) + "\n";
  }
  const TensorDifference& d = *stage.difference;
  std::snprintf(line, sizeof(line), "%-28s %-20s %11.4g %11.4g %12.9f %s", stage.name.c_str(),
                to_string(stage.shape_a).c_str(), d.max_absolute, d.relative_error,
                d.cosine.value_or(1), stage.is_past(tolerance) ? "<" : "");
  return line + non_finite_text(d) + "\n";
}

std::string names(const std::vector<std::string>& list) {
  std::string text;
  for (const std::string& name : list) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string conclusion(const DiffResult& result, double tolerance) {
  std::string text;
  if (!result.only_a.empty()) text += "Only in a: " + names(result.only_a) + "\n";
  if (!result.only_b.empty()) text += "Only in b: " + names(result.only_b) + "\n";
  const StageDifference* first = first_past(result, tolerance);
  if (first == nullptr) {
    return text + "All within the tolerance of " + figure(tolerance) + ".\n";
  }
  return text + "First past the tolerance of " + figure(tolerance) + ": " + first->name + "\n";
}

json stage_json(const StageDifference& stage, double tolerance) {
  json result = {{"name", stage.name},
                 {"shape_a", stage.shape_a},
                 {"shape_b", stage.shape_b},
                 {"past_tolerance", stage.is_past(tolerance)}};
  if (!stage.difference) return result;
  const TensorDifference& d = *stage.difference;
  const auto index = [](std::int64_t at) { return at < 0 ? json() : json(at); };
  // JSON has no infinity: it is written as null.
  result["max_absolute"] = d.max_absolute;
  result["relative_error"] = d.relative_error;
  result["cosine"] = json_or_null(d.cosine);
  result["first_non_finite_a"] = index(d.first_non_finite_a);
  result["first_non_finite_b"] = index(d.first_non_finite_b);
  return result;
}

json to_json(const DiffResult& result, double tolerance) {
  json stages = json::array();
  for (const StageDifference& stage : result.stages) stages.push_back(stage_json(stage, tolerance));
  const StageDifference* first = first_past(result, tolerance);
  return {{"stages", stages},
          {"only_a", result.only_a},
          {"only_b", result.only_b},
          {"tolerance", tolerance},
          {"first_past_tolerance", first == nullptr ? json() : json(first->name)}};
}

void print_text(const DiffResult& result, double tolerance) {
  char head[128];
  std::snprintf(head, sizeof(head), "%-28s %-20s %11s %11s %12s\n", "tensor", "shape",
                "max |a - b|", "relative", "cosine");
  std::string text = head;
  for (const StageDifference& stage : result.stages) text += row_text(stage, tolerance);
  print(text + conclusion(result, tolerance));
}

int run_diff(DiffFlags& flags) {
  DiffSettings& settings = flags.settings;
  if (flags.prompt == "-") flags.prompt = prompt_of_input();
  const std::string prompt = flags.prompt.value_or("a red apple on a blue background");
  require_utf8("--prompt", prompt);
  settings.request.prompts = {prompt};
  settings.a = parse_configuration("--a", flags.a, flags.load);
  settings.b = parse_configuration("--b", flags.b, flags.load);
  settings.quiet = settings.quiet || flags.json;
  const InterruptGuard interrupt;
  const DiffResult result = compare_runs(settings, interrupt);
  if (flags.json) {
    print_json(to_json(result, flags.tolerance));
  } else {
    print_text(result, flags.tolerance);
  }
  const bool is_equal = first_past(result, flags.tolerance) == nullptr && result.only_a.empty() &&
                        result.only_b.empty();
  return is_equal ? kExitSuccess : kExitFailure;
}

void add_diff_flags(CLI::App& app, DiffFlags& flags) {
  add_load_flags(app, flags.load);
  Request& request = flags.settings.request;
  app.add_option("--a", flags.a, std::string("one way to run: ") + kSpecHelp)
      ->required()
      ->type_name("SPEC");
  app.add_option("--b", flags.b, "the other, which is trusted")->required()->type_name("SPEC");
  add_single_prompt_flags(app, flags.prompt);
  add_option_flags(app, request);
  add_single_seed_flag(app, request);
  add_number_flag(
      app, "--tolerance", [&flags](double value) { flags.tolerance = value; }, 0, 1e9,
      "relative error, sqrt(sum (a - b)^2 / sum b^2), that a tensor may have; default 0.02");
  app.add_flag("--inside-blocks", flags.settings.inside_blocks,
               "compare every tensor inside the blocks too; keeps them all in memory");
  app.add_flag("--json", flags.json, "print JSON");
  app.add_flag("--quiet,-q", flags.settings.quiet, "no progress, only the result");
}

}  // namespace

Command add_diff_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "diff", "Compare two ways to run a model, tensor by tensor: where do they part?");
  const auto flags = std::make_shared<DiffFlags>();
  add_diff_flags(*app, *flags);
  app->footer(kDiffExamples);
  return {app, [flags] { return run_diff(*flags); }};
}

}  // namespace ernie_image
