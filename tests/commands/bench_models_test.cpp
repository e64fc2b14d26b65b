// What `ernie-image bench` measures of whole models, at sizes that take a moment: on the CPU, and
// on the stand-ins for cards.
#include "bench/bench_models.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/device.h"

namespace ernie_image {
namespace {

/// All the same, in bf16.
class ConstantWeights final : public WeightSource {
 public:
  bool contains(std::string_view) const override { return true; }
  Weight get(const std::string& name, const Shape& shape) override {
    const auto values = std::make_shared<Tensor>(Tensor::host(DType::bf16, shape));
    std::ranges::fill(values->span<std::uint16_t>(), std::uint16_t{0x3c00});  // 0.0078125
    return {name, DType::bf16, shape, values->bytes(), values};
  }
  void require_complete() const override {}
  std::vector<std::string> unused() const override { return {}; }
  void release_pages() const override {}
};

BenchModels small_models() {
  BenchModels models;
  models.transformer.hidden_size = 64;
  models.transformer.num_attention_heads = 2;
  models.transformer.num_layers = 2;
  models.transformer.ffn_hidden_size = 96;
  models.transformer.text_in_dim = 48;
  models.transformer.in_channels = models.transformer.out_channels = 32;
  models.transformer.rope_axes_dim = {8, 12, 12};
  models.text_tokens = 3;
  models.vae.latent_channels = 8;
  models.vae.block_out_channels = {16, 16};
  models.vae.spatial_factor = 4;
  models.vae.norm_num_groups = 8;
  models.language.vocab_size = 40;
  models.language.hidden_size = 64;
  models.language.intermediate_size = 96;
  models.language.num_hidden_layers = 2;
  models.language.num_attention_heads = 2;
  models.language.num_key_value_heads = 1;
  models.language.head_dim = 32;
  models.language_layers = 4;
  models.context_tokens = 5;
  return models;
}

void expect_measured(const ModelRate& rate) {
  EXPECT_EQ(rate.problem, "") << rate.op;
  EXPECT_GT(rate.seconds, 0) << rate.op;
  EXPECT_LT(rate.seconds, 60) << rate.op;
}

TEST(BenchModels, AStepIsMeasuredAndItsProductsCounted) {
  const auto ops = make_test_backend();
  ConstantWeights weights;
  const ModelRate rate = measure_step(*ops, weights, small_models(), 16, Quantization::none);
  expect_measured(rate);
  // 16 tokens of the picture and 3 of text, through two layers.
  EXPECT_EQ(rate.products, 2 * (19 * (4 * 64 * 64 + 3 * 64 * 96) + 2 * 19 * 19 * 64));
}

TEST(BenchModels, APictureIsMeasured) {
  const auto ops = make_test_backend();
  ConstantWeights weights;
  const ModelRate rate = measure_picture(*ops, weights, small_models(), 16);
  expect_measured(rate);
  EXPECT_GT(rate.products, 16 * 16 * 9 * 16 * 16);
}

TEST(BenchModels, ATokenIsMeasuredByWhatItReads) {
  const auto ops = make_test_backend();
  ConstantWeights weights;
  const ModelRate rate = measure_token(*ops, weights, small_models(), Quantization::none);
  expect_measured(rate);
  const double layer = 2 * 64 * (6 * 32 + 3 * 96), output = 2 * 64 * 40;
  EXPECT_EQ(rate.weight_bytes, 2 * layer + output);
  EXPECT_NEAR(rate.whole_runs_per_second * rate.seconds,
              (2 * layer + output) / (4 * layer + output), 1e-9);
}

}  // namespace
}  // namespace ernie_image
