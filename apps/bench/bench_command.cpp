#include "bench/bench_command.h"

#include <algorithm>
#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "backend/registry.h"
#include "bench/bench_models.h"
#include "bench/bench_operations.h"
#include "bench/random_weights.h"
#include "common/console.h"
#include "common/exit_code.h"
#include "core/enum_names.h"
#include "io/gguf_blocks.h"

namespace ernie_image {
namespace {

constexpr const char* kBenchExamples =
    "Examples:\n"
    "  ernie-image bench\n"
    "  ernie-image bench --op linear,attention --sizes 1024\n"
    "  ernie-image bench --op linear,block --dtype bf16\n"
    "  ernie-image bench --device cuda --op linear,attention,block\n"
    "  ernie-image bench --quick --threads 1 --cpu-kernels avx2 --json";

const std::vector<std::string> kBenchOps = {
    "linear",       "attention",  "elementwise", "conv2d",     "block", "adapters",
    "text_encoder", "vae_decode", "vae_encode",  "llm_decode", "step"};

const std::vector<std::string> kBenchWeights = {"Q8_0", "Q4_0", "IQ4_NL", "Q4_K", "Q5_K", "Q6_K"};

BackendOptions backend_options(const BenchOptions& options) {
  BackendOptions backend;
  backend.device = options.device;
  backend.num_threads = options.threads;
  backend.cpu_kernels = options.cpu_kernels;
  backend.device_options = {{"block_activations", options.block_activations},
                            {"offload", "none"}};  // what does not fit is said, not streamed
  return backend;
}

class Bench {
 public:
  explicit Bench(const BenchOptions& options)
      : options_(options),
        ops_(make_backend(backend_options(options))),
        weights_(options.is_cpu()),
        meter_(*ops_, options) {}

  nlohmann::json run() {
    note(ops_->name() + ", " + name_of(options_.precision) +
         "; the best of several rounds\noperation           shape                     weight     "
         "seconds   GFLOP/s   share     GB/s\n");
    const auto measure = [this](const BenchSample& sample) { record(sample); };
    const std::vector<std::string> types =
        options_.weights.empty() ? std::vector<std::string>{""} : options_.weights;
    for (const std::string& type : types) {
      weights_.encode_as(gguf_type(type));
      each_operation(*ops_, weights_, options_, dtype_of(options_.precision), measure);
      measure_models();
    }
    return {{"device", ops_->name()}, {"results", results_}};
  }

 private:
  void measure_models() {
    BenchModels models = released_models();
    models.dtype = dtype_of(options_.precision);
    for (const std::int64_t side : options_.sides_px()) {
      if (options_.wants("step")) {
        for (const Quantization quantization : options_.quantizations())
          record(step_sample(*ops_, weights_, models, side, quantization));
      }
      if (options_.wants("vae_decode")) record(picture_sample(*ops_, weights_, models, side));
      if (options_.wants("vae_encode")) record(encoding_sample(*ops_, weights_, models, side));
    }
    if (!options_.wants("llm_decode")) return;
    for (const Quantization quantization : options_.quantizations())
      record(token_sample(*ops_, weights_, models, quantization));
  }

  /// Measures, and writes the line of the table as soon as it is known.
  void record(BenchSample sample) {
    const bool plain = sample.quantization == Quantization::none;
    const std::string weight = plain ? weights_.type_name() : name_of(sample.quantization);
    if (plain)
      sample.bytes *= weights_.bytes_of_weight() / bytes_of_weight(*ops_, sample.quantization);
    char line[160];
    std::snprintf(line, sizeof(line), "%-19s %-25s %-6s ", sample.op.c_str(),
                  to_string(sample.shape).c_str(), weight.c_str());
    note(line);
    const BenchResult result = meter_.measure(sample);
    nlohmann::json row = {{"op", sample.op},
                          {"shape", sample.shape},
                          {"dtype", name_of(options_.precision)},
                          {"weight", weight}};
    if (result.problem.empty()) {
      row.update(numbers(sample, result));
      note(columns(row));
    } else {
      row["problem"] = result.problem;
      note(result.problem + "\n");
    }
    results_.push_back(std::move(row));
  }

  /// A product is two operations. `share`: of what the processor could do at most.
  static nlohmann::json numbers(const BenchSample& sample, const BenchResult& result) {
    nlohmann::json row = {{"seconds", result.seconds}};
    if (sample.products > 0) {
      const double gflops = 2e-9 * static_cast<double>(sample.products) / result.seconds;
      row.update({{"gflops", gflops}, {"tflops", 1e-3 * gflops}});
      if (result.peak_gflops > 0)
        row.update({{"peak_gflops", result.peak_gflops}, {"share", gflops / result.peak_gflops}});
    }
    if (sample.bytes > 0) row["gb_per_s"] = 1e-9 * sample.bytes / result.seconds;
    if (result.read_gb_per_s > 0) {
      row["read_gb_per_s"] = result.read_gb_per_s;
      row["share"] = row["gb_per_s"].get<double>() / result.read_gb_per_s;
    }
    if (sample.share_of_model > 0) row["tokens_per_s"] = sample.share_of_model / result.seconds;
    if (sample.watches_memory)
      row.update({{"peak_bytes", result.peak_bytes}, {"anonymous_bytes", result.anonymous_bytes}});
    return row;
  }

  static std::string columns(const nlohmann::json& row) {
    const auto column = [&row](const char* name, int width, int digits, double factor,
                               const char* unit) {
      char text[32];
      if (!row.contains(name)) return std::string(static_cast<std::size_t>(width), ' ');
      std::snprintf(text, sizeof(text), "%*.*f%s",
                    width - static_cast<int>(std::string(unit).size()), digits,
                    factor * row[name].get<double>(), unit);
      return std::string(text);
    };
    std::string line = column("seconds", 11, 6, 1, "") + column("gflops", 10, 1, 1, "") +
                       column("share", 8, 1, 100, "%") + column("gb_per_s", 9, 1, 1, "");
    if (row.contains("tokens_per_s"))
      line += column("tokens_per_s", 9, 2, 1, "") + " tokens/s of the whole model";
    if (row.contains("peak_bytes")) {
      line += column("peak_bytes", 10, 1, 0x1p-20, "") + " MiB held," +
              column("anonymous_bytes", 9, 1, 0x1p-20, "") + " MiB resident";
    }
    return line + "\n";
  }

  void note(const std::string& text) const {
    if (!options_.json) print(text);
  }

  const BenchOptions& options_;
  std::unique_ptr<Backend> ops_;
  RandomWeights weights_;
  Meter meter_;
  nlohmann::json results_ = nlohmann::json::array();
};

int run_bench(const BenchOptions& options) {
  const nlohmann::json report = bench_report(options);
  if (options.json) print_json(report);
  return kExitSuccess;
}

}  // namespace

nlohmann::json bench_report(const BenchOptions& options) { return Bench(options).run(); }

std::vector<Quantization> BenchOptions::quantizations() const {
  if (!weights.empty()) return {Quantization::none};
  return {kQuantizations.begin(), kQuantizations.end()};
}

bool BenchOptions::wants(const std::string& op) const {
  // A step of the whole transformer takes a processor minutes and 15 GB; a block stands for it.
  if (ops.empty()) return op != "step" || !is_cpu();
  return std::ranges::find(ops, op) != ops.end();
}

std::vector<std::int64_t> BenchOptions::sides_px() const {
  // A card is done with 256 pixels before it is told of the next operation.
  std::vector<std::int64_t> sides = {256, 512, 1024};
  if (sizes_px.empty() && !is_cpu()) sides.erase(sides.begin());
  if (!sizes_px.empty())
    std::erase_if(
        sides, [this](auto side) { return std::ranges::find(sizes_px, side) == sizes_px.end(); });
  if (quick) sides.resize(1);
  return sides;
}

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
      ->check(CLI::IsMember(kBenchOps));
  app->add_option("--sizes", flags->bench.sizes_px,
                  "which pictures, of 256, 512, 1024 pixels square")
      ->delimiter(',')
      ->check(CLI::IsMember({256, 512, 1024}));
  app->add_option(
         "--weights", flags->bench.weights,
         "weights in these types of GGUF in place of bf16, int8 and int4, separated by commas")
      ->delimiter(',')
      ->check(CLI::IsMember(kBenchWeights));
  app->add_option("--block-activations", flags->bench.block_activations,
                  "products with them: exact, int8; auto: int8 with --dtype bf16")
      ->check(CLI::IsMember({"auto", "exact", "int8"}));
  app->add_flag("--quick", flags->bench.quick, "the smallest size and few rounds only");
  app->add_flag("--json", flags->bench.json, "print JSON");
  app->footer(kBenchExamples);
  return {app, [flags, app] {
            BenchOptions options = flags->bench;
            options.threads = flags->load.num_threads;
            options.cpu_kernels = flags->load.cpu_kernels;
            const bool is_default = app->count("--dtype") == 0;
            options.precision =
                is_default && !options.is_cpu() ? Precision::bf16 : flags->load.precision;
            return run_bench(options);
          }};
}

}  // namespace ernie_image
