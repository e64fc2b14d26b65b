#include "bench/bench_device.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "backend/registry.h"
#include "bench/bench_models.h"
#include "bench/released_sizes.h"
#include "common/console.h"
#include "core/enum_names.h"
#include "core/half.h"
#include "models/transformer.h"

namespace ernie_image {
namespace {

/// Tokens of a picture `side` pixels square with 32 tokens of text.
std::int64_t tokens_of(std::int64_t side) { return side / 16 * (side / 16) + 32; }

/// bf16 of -0.03 to 0.03: no sum overflows, no product is trivial.
Tensor random_values(Shape shape) {
  static std::minstd_rand generator(1);
  Tensor tensor = Tensor::host(DType::bf16, std::move(shape));
  for (std::uint16_t& value : tensor.span<std::uint16_t>())
    value = float_to_bf16((static_cast<float>(generator()) * 0x1p-31f - 0.5f) * 0.06f);
  return tensor;
}

/// Weights of any shape. All are the same memory of the host: a device copies it for each.
class RandomBf16 final : public WeightSource {
 public:
  bool contains(std::string_view) const override { return true; }
  Weight get(const std::string& name, const Shape& shape) override {
    if (num_elements(shape) > values_->size())
      values_ = std::make_shared<Tensor>(random_values({num_elements(shape)}));
    return {name, DType::bf16, shape, values_->bytes(), values_};
  }
  void require_complete() const override {}
  std::vector<std::string> unused() const override { return {}; }
  void release_pages() const override {}

 private:
  std::shared_ptr<Tensor> values_ = std::make_shared<Tensor>(random_values({1}));
};

class DeviceBench {
 public:
  explicit DeviceBench(const BenchOptions& options)
      : options_(options),
        // What does not fit is said, not streamed.
        ops_(make_backend({.device = options.device, .offload = "none"})) {}

  nlohmann::json run() {
    note(ops_->name() + ", bf16; best of several runs of many calls in a row\n" +
         "operation           shape                     weight     seconds   TFLOP/s     GB/s\n");
    for (const std::int64_t side : {512, 1024}) {
      if (!wants_side(side)) continue;
      const std::int64_t tokens = tokens_of(side);
      if (options_.wants("linear")) measure_linears(tokens);
      if (options_.wants("attention")) measure_attention(tokens);
      if (options_.wants("elementwise")) measure_elementwise(tokens);
      if (options_.wants("block")) measure_blocks(tokens);
    }
    if (options_.wants("conv2d")) measure_convolutions();
    if (options_.wants("llm_decode")) measure_rows();
    measure_models();
    return {{"device", ops_->name()}, {"results", results_}};
  }

 private:
  bool wants_side(std::int64_t side) const {
    return options_.quick ? side == 512 : options_.wants_size(side);
  }
  std::vector<Quantization> quantizations(std::vector<Quantization> all) const {
    if (!ops_->name().starts_with("cuda")) all.resize(1);  // others refuse them
    return all;
  }

  Tensor up(Shape shape) { return ops_->upload(random_values(std::move(shape))); }
  WeightHandle linear_weight(std::int64_t columns, std::int64_t depth, Quantization quantization) {
    return ops_->prepare(weights_.get("linear", {columns, depth}), WeightUse::linear, quantization);
  }

  void measure_linears(std::int64_t tokens) {
    for (const auto& [depth, columns] :
         {std::pair{kHidden, kHidden}, {kHidden, kFeedForward}, {kFeedForward, kHidden}}) {
      const Tensor x = up({tokens, depth});
      for (const Quantization quantization :
           quantizations({Quantization::none, Quantization::int8})) {
        const WeightHandle weight = linear_weight(columns, depth, quantization);
        record("linear", {tokens, depth, columns}, quantization, tokens * depth * columns, 0,
               [&] { ops_->linear(x, *weight); });
      }
    }
  }

  void measure_attention(std::int64_t tokens) {
    const Tensor q = up({1, tokens, kHeads, kHeadDim});
    record("attention", {tokens, kHeads, kHeadDim}, Quantization::none,
           2 * tokens * tokens * kHidden, 0, [&] { ops_->attention(q, q, q, {}, 0.0883883f); });
  }

  void measure_elementwise(std::int64_t tokens) {
    const Tensor x = up({1, tokens, kHidden}), gate = up({1, tokens, kFeedForward});
    const Tensor table = up({1, 6 * kHidden});
    const WeightHandle norm = ops_->prepare(weights_.get("norm", {kHidden}), WeightUse::vector);
    const WeightHandle head = ops_->prepare(weights_.get("head", {kHeadDim}), WeightUse::vector);
    const Tensor angles = ops_->upload(to_float(random_values({1, tokens, kHeadDim})));
    const RotaryTable rotary{angles, angles, {}};
    const auto bytes = [](const Tensor& tensor, std::int64_t times) {
      return times * static_cast<std::int64_t>(tensor.size_bytes());
    };
    const Quantization none = Quantization::none;
    record("rms_norm_modulate", x.shape(), none, 0, bytes(x, 2), [&] {
      ops_->rms_norm_modulate(x, *norm, 1e-6f, {table, 0}, {table, 1});
    });
    const Tensor heads = x.reshaped({1, tokens, kHeads, kHeadDim});
    record("norm_rope", heads.shape(), none, 0, bytes(x, 2),
           [&] { ops_->norm_rope(heads, head.get(), 1e-6f, rotary); });
    record("gated_add", x.shape(), none, 0, bytes(x, 3), [&] {
      ops_->gated_add(x, {table, 2}, x);
    });
    record("gelu_mul", gate.shape(), none, 0, bytes(gate, 3), [&] { ops_->gelu_mul(gate, gate); });
  }

  void measure_blocks(std::int64_t tokens) {
    TransformerConfig config;
    config.hidden_size = kHidden;
    config.num_attention_heads = kHeads;
    config.ffn_hidden_size = kFeedForward;
    const Modulation modulation(up({1, 6 * kHidden}));
    const Tensor x = up({1, tokens, kHidden});
    TransformerContext context;
    context.rotary.cos = ops_->upload(to_float(random_values({1, tokens, kHeadDim})));
    context.rotary.sin = context.rotary.cos;
    for (const Quantization quantization :
         quantizations({Quantization::none, Quantization::int8})) {
      const TransformerBlock block(WeightLoader(*ops_, weights_, "layers.0.", quantization),
                                   config);
      record("transformer_block", {tokens, kHidden, kFeedForward}, quantization,
             block_products(tokens, kHidden, kFeedForward), 0,
             [&] { block.forward(*ops_, x, modulation, context, Tap(*ops_, nullptr, "")); });
    }
  }

  /// Those of the decoder's levels at 1024 x 1024.
  void measure_convolutions() {
    for (const auto& [side, channels] :
         {std::pair<std::int64_t, std::int64_t>{128, 512}, {256, 512}, {512, 256}, {1024, 128}}) {
      const Tensor x = up({1, side, side, channels});
      const WeightHandle weight =
          ops_->prepare(weights_.get("conv", {channels, channels, 3, 3}), WeightUse::conv2d);
      const WeightHandle bias = ops_->prepare(weights_.get("bias", {channels}), WeightUse::vector);
      const WeightHandle factors =
          ops_->prepare(weights_.get("norm", {channels}), WeightUse::vector);
      record("conv2d", {side, side, channels}, Quantization::none,
             9 * side * side * channels * channels, 0, [&] { ops_->conv2d(x, *weight, *bias); });
      record("group_norm", {side, side, channels}, Quantization::none, 0,
             3 * static_cast<std::int64_t>(x.size_bytes()),
             [&] { ops_->group_norm(x, *factors, *bias, 32, 1e-6f, Activation::silu); });
    }
  }

  /// One row, as the prompt enhancer decodes: the weights are read once.
  void measure_rows() {
    for (const Quantization quantization :
         quantizations({Quantization::none, Quantization::int8, Quantization::int4})) {
      const double bits = quantization == Quantization::none   ? 16
                          : quantization == Quantization::int8 ? 8
                                                               : 4.4;
      for (const std::int64_t columns : {std::int64_t{9216}, std::int64_t{131072}}) {
        const Tensor x = up({1, 3072});
        const WeightHandle weight = linear_weight(columns, 3072, quantization);
        record("linear of one row", {3072, columns}, quantization, 3072 * columns,
               static_cast<std::int64_t>(bits / 8 * 3072 * static_cast<double>(columns)),
               [&] { ops_->linear(x, *weight); });
      }
    }
  }

  /// Whole models, as far as the memory holds them.
  void measure_models() {
    const BenchModels models = released_models();
    for (const std::int64_t side : {512, 1024}) {
      if (!wants_side(side)) continue;
      if (options_.wants("step")) {
        for (const Quantization quantization :
             quantizations({Quantization::none, Quantization::int8}))
          record(measure_step(*ops_, weights_, models, side, quantization));
      }
      if (options_.wants("vae_decode")) record(measure_picture(*ops_, weights_, models, side));
    }
    if (!options_.wants("llm_decode")) return;
    for (const Quantization quantization :
         quantizations({Quantization::none, Quantization::int8, Quantization::int4}))
      record(measure_token(*ops_, weights_, models, quantization));
  }

  double seconds_of(int calls, const std::function<void()>& operation) {
    timer_->start();
    for (int i = 0; i < calls; ++i) operation();
    return timer_->stop() / calls;
  }

  /// Calls in a row hide the way to the device; as many as take a tenth of a second.
  double measured(const std::function<void()>& operation) {
    seconds_of(2, operation);  // weights go up, plans are made
    const double once = seconds_of(2, operation);
    const int calls = static_cast<int>(std::clamp(0.1 / std::max(once, 1e-7), 1.0, 2000.0));
    double best = 1e300;
    for (int round = 0; round < (options_.quick ? 2 : 5); ++round)
      best = std::min(best, seconds_of(calls, operation));
    return best;
  }

  /// `products` count as two operations each; 0 for what is not measured by them or by bytes.
  void record(const std::string& op, const Shape& shape, Quantization quantization,
              std::int64_t products, std::int64_t bytes, const std::function<void()>& operation) {
    ModelRate rate{op, shape, quantization};
    rate.seconds = measured(operation);
    rate.products = products;
    rate.weight_bytes = static_cast<double>(bytes);
    record(rate);
  }

  void record(const ModelRate& rate) {
    const std::string weight =
        rate.quantization == Quantization::none ? "bf16" : name_of(rate.quantization);
    nlohmann::json row = {{"op", rate.op}, {"shape", rate.shape}, {"weight", weight}};
    char line[160];
    std::snprintf(line, sizeof(line), "%-19s %-25s %-6s ", rate.op.c_str(),
                  to_string(rate.shape).c_str(), weight.c_str());
    note(line);
    if (!rate.problem.empty()) {
      row["problem"] = rate.problem;
      note(rate.problem + "\n");
    } else {
      const double tflops = 2e-12 * static_cast<double>(rate.products) / rate.seconds;
      const double gbytes = 1e-9 * rate.weight_bytes / rate.seconds;
      row.update({{"seconds", rate.seconds}, {"tflops", tflops}, {"gb_per_s", gbytes}});
      if (rate.whole_runs_per_second > 0) row["tokens_per_s"] = rate.whole_runs_per_second;
      std::snprintf(line, sizeof(line), "%11.6f %9.2f %8.1f\n", rate.seconds, tflops, gbytes);
      note(line);
    }
    results_.push_back(std::move(row));
  }

  void note(const std::string& text) const {
    if (!options_.json) print(text);
  }

  const BenchOptions& options_;
  std::unique_ptr<Backend> ops_;
  RandomBf16 weights_;
  std::unique_ptr<Backend::Timer> timer_ = ops_->make_timer();
  nlohmann::json results_ = nlohmann::json::array();
};

}  // namespace

int run_device_bench(const BenchOptions& options) {
  const nlohmann::json report = DeviceBench(options).run();
  if (options.json) print_json(report);
  return 0;
}

}  // namespace ernie_image
