#include "bench/bench_operations.h"

#include <array>
#include <memory>

#include "bench/bench_models.h"
#include "bench/random_weights.h"
#include "models/ministral.h"
#include "models/quantized_weights.h"
#include "models/transformer.h"
#include "nn/tap.h"

namespace ernie_image {
namespace {

constexpr float kScoreScale = 0.0883883f;  // 1 / sqrt(kHeadDim)

/// Puts a term of bf16 beside every linear layer that it visits.
class LowRankAdapter final : public ModuleVisitor {
 public:
  LowRankAdapter(Backend& ops, std::int64_t rank) : ops_(ops), rank_(rank) {}

  void linear(const std::string& module, Linear& layer) override {
    const Shape& shape = layer.weight->shape();
    LinearAdapter adapter;
    AdapterTerm& term = adapter.terms.emplace_back();
    term.down = factor(module + ".lora_A", {rank_, shape[1]});
    term.up = factor(module + ".lora_B", {shape[0], rank_});
    layer.adapter = std::make_shared<LinearAdapter>(std::move(adapter));
  }
  void vector(const std::string& /*module*/, WeightHandle& /*weight*/) override {}
  void embedding(const std::string& /*module*/, const WeightHandle& /*table*/,
                 std::shared_ptr<const EmbeddingAdapter>& /*adapter*/) override {}

 private:
  WeightHandle factor(const std::string& name, const Shape& shape) {
    const auto values = std::make_shared<Tensor>(random_values(DType::bf16, shape));
    return ops_.prepare({name, DType::bf16, shape, values->bytes(), values}, WeightUse::linear);
  }

  Backend& ops_;
  std::int64_t rank_;
};

class Operations {
 public:
  Operations(Backend& ops, WeightSource& weights, const BenchOptions& options, DType dtype,
             const OnSample& on_sample)
      : ops_(ops), weights_(weights), options_(options), dtype_(dtype), on_sample_(on_sample) {}

  void run() {
    for (const std::int64_t side : options_.sides_px()) {
      const std::int64_t tokens = transformer_tokens(side);
      if (options_.wants("linear")) linears(tokens);
      if (options_.wants("attention")) attention(tokens);
      if (options_.wants("elementwise")) elementwise(tokens);
      if (options_.wants("block")) blocks("transformer_block", tokens, 0);
      if (options_.wants("adapters")) blocks("block with LoRA", tokens, 16);
      if (options_.wants("conv2d")) convolutions(side);
    }
    if (options_.wants("text_encoder")) text_layers();
    if (options_.wants("llm_decode")) rows();
  }

 private:
  Tensor up(Shape shape) { return ops_.upload(random_values(dtype_, std::move(shape))); }
  Tensor angles(std::int64_t tokens) {
    return ops_.upload(random_values(DType::f32, {1, tokens, kHeadDim}));
  }

  void linears(std::int64_t tokens) {
    for (const auto& [depth, columns] :
         {std::pair{kHidden, kHidden}, {kHidden, kFeedForward}, {kFeedForward, kHidden}}) {
      for (const Quantization quantization : options_.quantizations())
        linear("linear", {tokens, depth, columns}, quantization, 0);
    }
  }

  /// One row, as the prompt enhancer decodes: the weights are read once.
  void rows() {
    for (const Quantization quantization : options_.quantizations()) {
      for (const std::int64_t columns : {std::int64_t{9216}, std::int64_t{131072}})
        linear("linear of one row", {1, 3072, columns}, quantization,
               bytes_of_weight(ops_, quantization) * static_cast<double>(3072 * columns));
    }
  }

  void linear(const std::string& op, Shape shape, Quantization quantization, double bytes) {
    BenchSample sample{.op = op, .shape = shape, .quantization = quantization};
    sample.products = shape[0] * shape[1] * shape[2];
    sample.bytes = bytes;
    sample.prepare = [this, shape, quantization] {
      const WeightHandle weight = ops_.prepare(weights_.get("linear", {shape[2], shape[1]}),
                                               WeightUse::linear, quantization);
      return [this, weight, x = up({shape[0], shape[1]})] { ops_.linear(x, *weight); };
    };
    on_sample_(sample);
  }

  void attention(std::int64_t tokens) {
    BenchSample sample{.op = "attention", .shape = {tokens, kHeads, kHeadDim}};
    sample.products = 2 * tokens * tokens * kHidden;
    sample.prepare = [this, tokens] {
      return [this, q = up({1, tokens, kHeads, kHeadDim})] {
        ops_.attention(q, q, q, {}, kScoreScale);
      };
    };
    on_sample_(sample);
  }

  /// `tensors`: how many as large as x a call reads and writes. `call` is given x.
  void moving(const std::string& op, const Shape& shape, int tensors,
              std::function<void(const Tensor&)> call) {
    BenchSample sample{.op = op, .shape = shape};
    sample.bytes =
        static_cast<double>(tensors * num_elements(shape)) * static_cast<double>(size_of(dtype_));
    sample.prepare = [this, shape, call = std::move(call)] {
      return [x = up(shape), call] { call(x); };
    };
    on_sample_(sample);
  }

  WeightHandle vector(std::int64_t size) {
    return ops_.prepare(weights_.get("norm", {size}), WeightUse::vector);
  }

  void elementwise(std::int64_t tokens) {
    const Shape wide = {1, tokens, kHidden}, heads = {1, tokens, kHeads, kHeadDim};
    const Tensor table = up({1, 6 * kHidden});
    moving("rms_norm_modulate", wide, 2, [this, table, norm = vector(kHidden)](const Tensor& x) {
      ops_.rms_norm_modulate(x, *norm, 1e-6f, {table, 0}, {table, 1});
    });
    const RotaryTable rotary{angles(tokens), angles(tokens), {}};
    moving("norm_rope", heads, 2, [this, rotary, norm = vector(kHeadDim)](const Tensor& x) {
      ops_.norm_rope(x, norm.get(), 1e-6f, rotary);
    });
    moving("gated_add", wide, 3, [this, table](const Tensor& x) {
      ops_.gated_add(x, {table, 2}, x);
    });
    moving("gelu_mul", {1, tokens, kFeedForward}, 3,
           [this](const Tensor& x) { ops_.gelu_mul(x, x); });
  }

  /// With adapters of `rank`, if not 0, on every linear layer, whose products are not counted.
  void blocks(const std::string& op, std::int64_t tokens, std::int64_t rank) {
    for (const Quantization quantization : options_.quantizations()) {
      BenchSample sample{
          .op = op, .shape = {tokens, kHidden, kFeedForward}, .quantization = quantization};
      sample.products = block_products(tokens, kHidden, kFeedForward);
      sample.prepare = [=, this] { return block(tokens, quantization, rank); };
      on_sample_(sample);
    }
  }

  std::function<void()> block(std::int64_t tokens, Quantization quantization, std::int64_t rank) {
    const auto made = std::make_shared<TransformerBlock>(
        WeightLoader(ops_, weights_, "layers.0.", quantization, quantized_weights()),
        released_models().transformer);
    LowRankAdapter adapter(ops_, rank);
    if (rank > 0) made->visit("layers.0.", adapter);
    const Modulation modulation{up({1, 6 * kHidden})};
    TransformerContext context;
    context.rotary.cos = context.rotary.sin = angles(tokens);
    return [this, made, modulation, context, x = up({1, tokens, kHidden})] {
      made->forward(ops_, x, modulation, context, Tap(ops_, nullptr, ""));
    };
  }

  /// 3x3, and the norm before: those of the decoder's levels for a picture `side_px` square.
  void convolutions(std::int64_t side_px) {
    for (const auto& [side, channels] : {std::pair<std::int64_t, std::int64_t>{side_px / 8, 512},
                                         {side_px / 4, 512},
                                         {side_px / 2, 256},
                                         {side_px, 128}}) {
      convolution(side, channels);
      moving("group_norm", {1, side, side, channels}, 3,
             [this, factors = vector(channels)](const Tensor& x) {
               ops_.group_norm(x, *factors, *factors, 32, 1e-6f, Activation::silu);
             });
    }
  }

  void convolution(std::int64_t side, std::int64_t channels) {
    BenchSample sample{.op = "conv2d", .shape = {side, side, channels, channels, 3, 3}};
    sample.products = 9 * side * side * channels * channels;
    sample.prepare = [this, side, channels] {
      const WeightHandle weight =
          ops_.prepare(weights_.get("conv", {channels, channels, 3, 3}), WeightUse::conv2d);
      return [this, weight, bias = vector(channels), x = up({1, side, side, channels})] {
        ops_.conv2d(x, *weight, *bias);
      };
    };
    on_sample_(sample);
  }

  /// A layer of the text encoder.
  void text_layers() {
    const MinistralConfig config = released_models().language;
    const std::int64_t heads = 2 * config.num_attention_heads + 2 * config.num_key_value_heads;
    const std::int64_t layer_weights =
        config.hidden_size * (heads * config.head_dim + 3 * config.intermediate_size);
    const auto layer = std::make_shared<MinistralLayer>(WeightLoader(ops_, weights_), config);
    for (const std::int64_t tokens : {32, 128, 512}) {
      BenchSample sample{.op = "text_encoder",
                         .shape = {tokens, config.hidden_size, config.intermediate_size}};
      // Half of the scores are masked.
      sample.products =
          tokens * layer_weights + tokens * tokens * config.num_attention_heads * config.head_dim;
      sample.prepare = [this, layer, config, tokens] {
        const auto positions = std::make_shared<MinistralPositions>(
            make_ministral_positions(ops_, config, 0, tokens, dtype_));
        return [this, layer, positions, x = up({1, tokens, config.hidden_size})] {
          layer->forward(ops_, x, *positions, Tap(ops_, nullptr, ""));
        };
      };
      on_sample_(sample);
    }
  }

  Backend& ops_;
  WeightSource& weights_;
  const BenchOptions& options_;
  const DType dtype_;
  const OnSample& on_sample_;
};

}  // namespace

void each_operation(Backend& ops, WeightSource& weights, const BenchOptions& options, DType dtype,
                    const OnSample& on_sample) {
  Operations(ops, weights, options, dtype, on_sample).run();
}

}  // namespace ernie_image
