#include "commands/commands.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "common/console.h"
#include "common/exit_code.h"
#include "ernie_image/error.h"
#include "eval/metrics.h"
#include "io/image_file.h"

namespace ernie_image {
namespace {

constexpr const char* kMetricsExamples =
    "Examples:\n"
    "  ernie-image metrics bf16.png fp32.png\n"
    "  ernie-image metrics bf16.png fp32.png --json\n"
    "PNG, JPEG and WebP are read, 16-bit and palette pictures as 8-bit RGB.";

struct MetricsFlags {
  std::string a, b;
  bool json = false;
};

/// Transparency would not be compared, and is therefore refused.
Image read_opaque(const std::string& path) {
  ImageFile file = read_image(path);
  if (!file.alpha.empty())
    throw Error(ErrorKind::unsupported,
                path + " is transparent in places, which no metric compares; flatten it first");
  return std::move(file.image);
}

int run_metrics(const MetricsFlags& flags) {
  const ImageMetrics metrics = compare_images(read_opaque(flags.a), read_opaque(flags.b));
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
  app->add_option("a", flags->a, "a picture")->required()->type_name("A");
  app->add_option("b", flags->b, "another of the same size")->required()->type_name("B");
  app->add_flag("--json", flags->json, "print JSON");
  app->footer(kMetricsExamples);
  return {app, [flags] { return run_metrics(*flags); }};
}

}  // namespace ernie_image
