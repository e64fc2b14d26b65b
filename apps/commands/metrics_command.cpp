#include "commands/commands.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "common/console.h"
#include "common/exit_code.h"
#include "eval/metrics.h"
#include "io/image_file.h"

namespace ernie_image {
namespace {

constexpr const char* kMetricsExamples =
    "Examples:\n"
    "  ernie-image metrics bf16.png fp32.png\n"
    "  ernie-image metrics bf16.png fp32.png --json";

struct MetricsFlags {
  std::string a, b;
  bool json = false;
};

int run_metrics(const MetricsFlags& flags) {
  const ImageMetrics metrics = compare_images(read_png(flags.a).image, read_png(flags.b).image);
  if (flags.json) {
    print_json(to_json(metrics));
  } else {
    print(to_text(metrics));
  }
  return kExitSuccess;
}

}  // namespace

Command add_metrics_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("metrics", "Measure how far two pictures are apart");
  const auto flags = std::make_shared<MetricsFlags>();
  app->add_option("a", flags->a, "a picture")->required()->type_name("A.png");
  app->add_option("b", flags->b, "another of the same size")->required()->type_name("B.png");
  app->add_flag("--json", flags->json, "print JSON");
  app->footer(kMetricsExamples);
  return {app, [flags] { return run_metrics(*flags); }};
}

}  // namespace ernie_image
