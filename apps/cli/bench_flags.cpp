#include "cli/bench_flags.h"

#include "cli/bench_command.h"

namespace ernie_image {
namespace {

constexpr const char* kExamples =
    "Examples:\n"
    "  ernie-image bench\n"
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
  app->add_flag("--quick", flags->bench.quick, "small sizes and few rounds only");
  app->add_flag("--json", flags->bench.json, "print JSON");
  app->footer(kExamples);
  return {app, [flags] {
            BenchOptions options = flags->bench;
            options.threads = flags->load.num_threads;
            options.cpu_kernels = flags->load.cpu_kernels;
            return run_bench(options);
          }};
}

}  // namespace ernie_image
