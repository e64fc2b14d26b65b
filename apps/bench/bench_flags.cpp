#include "bench/bench_flags.h"

#include <CLI/CLI.hpp>

#include "bench/bench_command.h"
#include "bench/bench_device.h"
#include "common/flags.h"

namespace ernie_image {
namespace {

constexpr const char* kBenchExamples =
    "Examples:\n"
    "  ernie-image bench\n"
    "  ernie-image bench --op linear,attention --sizes 1024\n"
    "  ernie-image bench --op linear,block --dtype bf16\n"
    "  ernie-image bench --device cuda --op linear,attention,block\n"
    "  ernie-image bench --quick --threads 1 --cpu-kernels avx2 --json";

}  // namespace

Command add_bench_command(CLI::App& program) {
  CLI::App* app =
      program.add_subcommand("bench", "Measure each operation at the sizes of the released model");
  struct Flags {
    LoadOptions load;
    BenchOptions bench;
  };
  const auto flags = std::make_shared<Flags>();
  add_threads_flag(*app, flags->load);
  add_cpu_kernels_flag(*app, flags->load);
  add_dtype_flag(*app, flags->load);
  add_device_name_flag(*app, flags->bench.device, "one of them here; default: cpu");
  app->add_option("--op", flags->bench.ops, "which operations, separated by commas")
      ->delimiter(',')
      ->check(CLI::IsMember(bench_ops()));
  app->add_option("--sizes", flags->bench.sizes_px,
                  "which pictures, of 256, 512, 1024 pixels square")
      ->delimiter(',')
      ->check(CLI::IsMember({256, 512, 1024}));
  app->add_flag("--quick", flags->bench.quick, "small sizes and few rounds only");
  app->add_flag("--json", flags->bench.json, "print JSON");
  app->footer(kBenchExamples);
  return {app, [flags] {
            BenchOptions options = flags->bench;
            options.threads = flags->load.num_threads;
            options.cpu_kernels = flags->load.cpu_kernels;
            options.precision = flags->load.precision;
            return options.device == "cpu" ? run_bench(options) : run_device_bench(options);
          }};
}

}  // namespace ernie_image
