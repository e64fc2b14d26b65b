#include "bench/bench_command.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/kernels.h"
#include "bench/bench_decode.h"
#include "bench/bench_text.h"
#include "bench/bench_vae.h"
#include "bench/released_sizes.h"
#include "common/console.h"
#include "core/enum_names.h"
#include "core/half.h"
#include "core/thread_pool.h"
#include "core/weight.h"
#include "models/transformer.h"

namespace ernie_image {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Tokens of pictures of 256, 512 and 1024 pixels square, with 32 tokens of text.
constexpr std::int64_t kTokens256 = 288;
constexpr std::int64_t kTokens512 = 1056;
constexpr std::int64_t kTokens1024 = 4128;

/// Small numbers without pattern, so that no sum overflows and no product is trivial.
class Noise {
 public:
  float next() {
    state_ = state_ * 1664525u + 1013904223u;
    return (static_cast<float>(state_ >> 8) * 0x1p-24f - 0.5f) * 0.06f;
  }

 private:
  std::uint32_t state_ = 1;
};

Tensor random_activations(DType dtype, Shape shape) {
  Tensor tensor = Tensor::host(DType::f32, std::move(shape));
  Noise noise;
  for (float& value : tensor.span<float>()) value = noise.next();
  return round_to(tensor, dtype);
}

/// A source of bf16 weights of any name and shape, none sharing memory with another: a weight that
/// is still in a cache would make the model look faster than it is.
class RandomWeights final : public WeightSource {
 public:
  bool contains(std::string_view) const override { return true; }

  Weight get(const std::string& name, const Shape& shape) override {
    const auto values = std::make_shared<Tensor>(Tensor::host(DType::bf16, shape));
    for (std::uint16_t& value : values->span<std::uint16_t>()) value = float_to_bf16(noise_.next());
    return {name, DType::bf16, shape, values->bytes(), values};
  }

  void require_complete() const override {}
  std::vector<std::string> unused() const override { return {}; }
  void release_pages() const override {}

 private:
  Noise noise_;
};

/// What the weights of a measurement are kept in.
std::string weight_name(Quantization quantization) {
  return quantization == Quantization::none ? "bf16" : name_of(quantization);
}

struct Timing {
  double seconds = 0;      ///< the fastest round
  double peak_gflops = 0;  ///< the fastest probe
};

class Bench {
 public:
  explicit Bench(const BenchOptions& options)
      : options_(options),
        kernels_(choose_kernels(options.cpu_kernels)),
        dtype_(dtype_of(options.precision)),
        probe_pool_(options.threads),
        ops_(make_cpu_backend({options.threads, options.cpu_kernels})) {}

  nlohmann::json run() {
    note(std::string("kernels ") + kernels_.name + ", " +
         std::to_string(probe_pool_.num_threads()) + " threads\n" +
         "operation          shape                    weight  GFLOP/s    peak   share     "
         "seconds\n");
    if (options_.wants("linear")) measure_linears();
    if (options_.wants("attention")) measure_attention();
    if (options_.wants("conv2d")) measure_convolutions();
    if (options_.wants("block")) measure_blocks();
    if (options_.wants("text_encoder")) measure_text_encoder();
    if (options_.wants("vae_decode")) record_vae();
    if (options_.wants("llm_decode")) record_decode();
    return {{"results", results_}};
  }

 private:
  Tensor activations(Shape shape) const { return random_activations(dtype_, std::move(shape)); }

  void measure_linears() {
    for (const std::int64_t tokens : sizes()) {
      measure_linear(tokens, kHidden, kHidden);
      measure_linear(tokens, kHidden, kFeedForward);
      measure_linear(tokens, kFeedForward, kHidden);
    }
  }

  void measure_linear(std::int64_t rows, std::int64_t depth, std::int64_t columns) {
    const Tensor x = activations({rows, depth});
    const Weight plain = weights_.get("linear", {columns, depth});
    for (const Quantization quantization : kQuantizations) {
      const WeightHandle weight = ops_->prepare(plain, WeightUse::linear, quantization);
      record("linear", {rows, depth, columns}, weight_name(quantization), rows * depth * columns,
             [&] { ops_->linear(x, *weight); });
    }
  }

  void measure_attention() {
    for (const std::int64_t tokens : sizes()) {
      const Tensor q = activations({1, tokens, kHeads, kHeadDim});
      record("attention", {tokens, kHeads, kHeadDim}, "", 2 * tokens * tokens * kHidden,
             [&] { ops_->attention(q, q, q, {}, 0.0883883f); });
    }
  }

  void measure_convolutions() {
    measure_convolution(512, 64);
    if (options_.quick) return;
    measure_convolution(256, 256);
    measure_convolution(128, 512);
  }

  /// 3x3, as many channels out as in, of a square picture.
  void measure_convolution(std::int64_t channels, std::int64_t side) {
    const Tensor x = activations({1, side, side, channels});
    const WeightHandle weight =
        ops_->prepare(weights_.get("conv", {channels, channels, 3, 3}), WeightUse::conv2d);
    const WeightHandle bias = ops_->prepare(weights_.get("bias", {channels}), WeightUse::vector);
    record("conv2d", {side, side, channels, channels, 3, 3}, "bf16",
           9 * side * side * channels * channels, [&] { ops_->conv2d(x, *weight, *bias); });
  }

  /// A whole block of the transformer.
  void measure_blocks() {
    TransformerConfig config;
    config.hidden_size = kHidden;
    config.num_attention_heads = kHeads;
    config.ffn_hidden_size = kFeedForward;
    for (const Quantization quantization : kQuantizations) measure_block(config, quantization);
  }

  void measure_block(const TransformerConfig& config, Quantization quantization) {
    const TransformerBlock block(WeightLoader(*ops_, weights_, "layers.0.", quantization), config);
    const Modulation modulation(activations({1, 6 * kHidden}));
    for (const std::int64_t tokens : sizes()) {
      const Tensor x = activations({1, tokens, kHidden});
      TransformerContext context;
      context.rotary.cos = random_activations(DType::f32, {1, tokens, kHeadDim});
      context.rotary.sin = context.rotary.cos;
      const Tap tap(*ops_, nullptr, "");
      record("transformer_block", {tokens, kHidden, kFeedForward}, weight_name(quantization),
             block_products(tokens, kHidden, kFeedForward),
             [&] { block.forward(*ops_, x, modulation, context, tap); });
    }
  }

  void measure_text_encoder() {
    for (const TextLayerRun& layer : text_layer_runs(*ops_, weights_, dtype_))
      record("text_encoder", layer.shape, "bf16", layer.products, layer.run);
  }

  void record_vae() {
    note("\nVAE decoder          GFLOP/s     seconds    peak MiB  planned MiB  anonymous MiB\n");
    for (const VaeRate& rate : measure_vae(options_, weights_)) {
      const double gflops = 2e-9 * static_cast<double>(rate.products) / rate.seconds;
      results_.push_back({{"op", "vae_decode"},
                          {"shape", {rate.side_px, rate.side_px}},
                          {"gflops", gflops},
                          {"seconds", rate.seconds},
                          {"peak_bytes", rate.peak_bytes},
                          {"planned_bytes", rate.planned_bytes},
                          {"anonymous_bytes", rate.anonymous_bytes}});
      const auto mebibytes = [](std::uint64_t bytes) {
        return static_cast<double>(bytes) * 0x1p-20;
      };
      char line[160];
      std::snprintf(line, sizeof(line), "%-18lld %9.1f %11.3f %11.1f %12.1f %14.1f\n",
                    static_cast<long long>(rate.side_px), gflops, rate.seconds,
                    mebibytes(rate.peak_bytes), mebibytes(rate.planned_bytes),
                    mebibytes(rate.anonymous_bytes));
      note(line);
    }
  }

  void record_decode() {
    note("\nLLM decode, weights   GB/s  memory read GB/s   share  tokens/s of the whole model\n");
    for (const DecodeRate& rate : measure_decode(options_, weights_)) {
      const std::string weight = weight_name(rate.quantization);
      results_.push_back({{"op", "llm_decode"},
                          {"weight", weight},
                          {"gb_per_s", rate.gb_per_s},
                          {"read_gb_per_s", rate.read_gb_per_s},
                          {"share", rate.gb_per_s / rate.read_gb_per_s},
                          {"tokens_per_s", rate.full_model_tokens_per_s},
                          {"seconds", rate.seconds_per_token}});
      char line[160];
      std::snprintf(line, sizeof(line), "%-18s %8.1f %17.1f %6.1f%% %9.2f\n", weight.c_str(),
                    rate.gb_per_s, rate.read_gb_per_s, 100 * rate.gb_per_s / rate.read_gb_per_s,
                    rate.full_model_tokens_per_s);
      note(line);
    }
  }

  std::vector<std::int64_t> sizes() const {
    std::vector<std::int64_t> tokens;
    if (options_.wants_size(256)) tokens.push_back(kTokens256);
    if (options_.wants_size(512)) tokens.push_back(kTokens512);
    if (options_.wants_size(1024)) tokens.push_back(kTokens1024);
    return tokens;
  }

  /// The best of many short bursts: a long one would rarely have all cores to itself.
  double peak_gflops() {
    constexpr std::int64_t kIterations = 50'000;  // under a millisecond
    constexpr int kBursts = 20;
    double best_seconds = 1e300;
    for (int burst = 0; burst < kBursts; ++burst) {
      const auto start = Clock::now();
      probe_pool_.parallel_for(probe_pool_.num_threads(),
                               [&](std::int64_t, int) { kernels_.gemm.probe_peak(kIterations); });
      best_seconds = std::min(best_seconds, seconds_since(start));
    }
    return 1e-9 * kernels_.gemm.probe_flops * static_cast<double>(kIterations) *
           probe_pool_.num_threads() / best_seconds;
  }

  /// Probe and operation take turns, so that both see the same machine; the best of each counts,
  /// since whatever else runs can only slow them down.
  Timing time(const std::function<void()>& operation) {
    const int min_rounds = options_.quick ? 3 : 4;
    const double budget_seconds = options_.quick ? 0.2 : 3.0;
    const auto first = Clock::now();
    operation();  // maps memory, fills the pool
    const bool is_long = seconds_since(first) > budget_seconds;
    Timing timing{1e300, 0};
    const auto begin = Clock::now();
    for (int round = 0; round < (is_long ? 1 : min_rounds) || seconds_since(begin) < budget_seconds;
         ++round) {
      timing.peak_gflops = std::max(timing.peak_gflops, peak_gflops());
      const auto start = Clock::now();
      operation();
      timing.seconds = std::min(timing.seconds, seconds_since(start));
    }
    // A host may let both threads share a core for a while; a long operation has one round.
    timing.peak_gflops = std::max(timing.peak_gflops, peak_gflops());
    return timing;
  }

  /// `products` are counted as two operations each; `weight` is empty for operations without one.
  void record(const char* op, const std::vector<std::int64_t>& shape, const std::string& weight,
              std::int64_t products, const std::function<void()>& operation) {
    const Timing timing = time(operation);
    const double gflops = 2e-9 * static_cast<double>(products) / timing.seconds;
    nlohmann::json result = {{"op", op},
                             {"shape", shape},
                             {"dtype", name_of(options_.precision)},
                             {"gflops", gflops},
                             {"peak_gflops", timing.peak_gflops},
                             {"share", gflops / timing.peak_gflops},
                             {"seconds", timing.seconds}};
    if (!weight.empty()) result["weight"] = weight;
    results_.push_back(std::move(result));
    char line[160];
    std::snprintf(line, sizeof(line), "%-18s %-24s %-6s %8.1f %7.1f %6.1f%% %11.4f\n", op,
                  to_string(shape).c_str(), weight.c_str(), gflops, timing.peak_gflops,
                  100 * gflops / timing.peak_gflops, timing.seconds);
    note(line);
  }

  /// A line of the table, as soon as it is known.
  void note(const std::string& text) const {
    if (!options_.json) print(text);
  }

  const BenchOptions& options_;
  const KernelTable& kernels_;
  const DType dtype_;
  ThreadPool probe_pool_;
  std::unique_ptr<Backend> ops_;
  RandomWeights weights_;
  nlohmann::json results_ = nlohmann::json::array();
};

}  // namespace

const std::vector<std::string>& bench_ops() {
  static const std::vector<std::string> names = {"linear",     "attention",  "elementwise",
                                                 "conv2d",     "block",      "text_encoder",
                                                 "vae_decode", "llm_decode", "step"};
  return names;
}

bool BenchOptions::wants(const std::string& op) const {
  return ops.empty() || std::ranges::find(ops, op) != ops.end();
}

bool BenchOptions::wants_size(std::int64_t side_px) const {
  if (quick && side_px != 256) return false;
  return sizes_px.empty() || std::ranges::find(sizes_px, side_px) != sizes_px.end();
}

int run_bench(const BenchOptions& options) {
  const nlohmann::json report = Bench(options).run();
  if (options.json) print_json(report);
  return 0;
}

}  // namespace ernie_image
