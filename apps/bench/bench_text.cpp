#include "bench/bench_text.h"

#include <memory>

#include "models/ministral.h"
#include "nn/tap.h"

namespace ernie_image {

std::vector<TextLayerRun> text_layer_runs(Backend& ops, WeightSource& weights, DType dtype) {
  MinistralConfig config;
  config.hidden_size = 3072;
  config.intermediate_size = 9216;
  const std::int64_t heads = 2 * config.num_attention_heads + 2 * config.num_key_value_heads;
  const std::int64_t layer_weights =
      config.hidden_size * (heads * config.head_dim + 3 * config.intermediate_size);
  const auto layer = std::make_shared<MinistralLayer>(WeightLoader(ops, weights), config);
  std::vector<TextLayerRun> runs;
  for (const std::int64_t tokens : {32, 128, 512}) {
    const Tensor values = Tensor::host(DType::f32, {1, tokens, config.hidden_size});
    for (std::int64_t i = 0; i < values.size(); ++i)
      values.data<float>()[i] = static_cast<float>(i % 101) * 0.02f - 1.0f;
    const Tensor x = round_to(values, dtype);
    const auto positions = std::make_shared<MinistralPositions>(
        make_ministral_positions(ops, config, 0, tokens, dtype));
    // Half of the scores are masked.
    const std::int64_t scores = tokens * tokens * config.num_attention_heads * config.head_dim;
    runs.push_back({{tokens, config.hidden_size, config.intermediate_size},
                    tokens * layer_weights + scores,
                    [&ops, layer, positions, x] {
                      layer->forward(ops, x, *positions, Tap(ops, nullptr, ""));
                    }});
  }
  return runs;
}

}  // namespace ernie_image
