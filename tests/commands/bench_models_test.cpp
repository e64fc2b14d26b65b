// What `ernie-image bench` measures of whole models, at sizes that take a moment: on the CPU, and
// on the stand-ins for cards.
#include "bench/bench_models.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bench/random_weights.h"
#include "ernie_image/error.h"
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
  models.vae.encoder_block_out_channels = {16, 24};
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

BenchResult measured(Backend& ops, const BenchSample& sample) {
  BenchOptions quick;
  quick.quick = true;
  BenchResult result = Meter(ops, quick).measure(sample);
  EXPECT_EQ(result.problem, "") << sample.op;
  EXPECT_GT(result.seconds, 0) << sample.op;
  EXPECT_LT(result.seconds, 60) << sample.op;
  return result;
}

TEST(BenchModels, AStepIsMeasuredAndItsProductsCounted) {
  const auto ops = make_test_backend();
  ConstantWeights weights;
  const BenchSample step = step_sample(*ops, weights, small_models(), 16, Quantization::none);
  const BenchResult result = measured(*ops, step);
  // 16 tokens of the picture and 3 of text, through two layers.
  EXPECT_EQ(step.products, 2 * (19 * (4 * 64 * 64 + 3 * 64 * 96) + 2 * 19 * 19 * 64));
  EXPECT_EQ(result.peak_gflops > 0, !ops->device_memory());
}

TEST(BenchModels, APictureIsMeasured) {
  const auto ops = make_test_backend();
  ConstantWeights weights;
  const BenchSample picture = picture_sample(*ops, weights, small_models(), 16);
  EXPECT_GT(measured(*ops, picture).peak_bytes, 16u * 16 * 3);
  EXPECT_GT(picture.products, 16 * 16 * 9 * 16 * 16);
}

TEST(BenchModels, APictureIsEncodedAndItsProductsCounted) {
  const auto ops = make_test_backend();
  ConstantWeights weights;
  const BenchSample encoding = encoding_sample(*ops, weights, small_models(), 16);
  measured(*ops, encoding);
  const std::int64_t full = 256 * (9 * 3 * 16 + 2 * 2 * 9 * 16 * 16),
                     half = 64 * (9 * 16 * 16 + 9 * 16 * 24 + 16 * 24 + 7 * 9 * 24 * 24),
                     attention = 64 * (4 * 24 * 24 + 2 * 64 * 24),
                     moments = 64 * (9 * 24 * 16 + 16 * 16);
  EXPECT_EQ(encoding.products, full + half + attention + moments);
}

TEST(BenchModels, ATokenIsMeasuredByWhatItReads) {
  const auto ops = make_test_backend();
  ConstantWeights weights;
  const BenchSample token = token_sample(*ops, weights, small_models(), Quantization::none);
  measured(*ops, token);
  const double layer = 2 * 64 * (6 * 32 + 3 * 96), output = 2 * 64 * 40;
  EXPECT_EQ(token.bytes, 2 * layer + output);
  EXPECT_NEAR(token.share_of_model, (2 * layer + output) / (4 * layer + output), 1e-9);
}

TEST(RandomWeights, MatricesAreEncodedInATypeOfGguf) {
  RandomWeights weights(true);
  weights.encode_as(gguf_type("Q8_0"));
  EXPECT_EQ(weights.type_name(), "Q8_0");
  EXPECT_EQ(weights.bytes_of_weight(), 34.0 / 32.0);
  const Weight matrix = weights.get("w", {300, 512});  // longer than what is encoded once
  ASSERT_EQ(matrix.format, WeightFormat::encoded);
  EXPECT_EQ(matrix.size_bytes(), std::size_t{300 * 512 / 32 * 34});
  const Tensor values = widened(matrix);
  const auto largest =
      std::ranges::max(values.span<float>(), {}, [](float v) { return std::abs(v); });
  EXPECT_NEAR(std::abs(largest), 0.03f, 0.001f);
  EXPECT_NE(values.data<float>()[values.size() - 1], 0.0f);
  EXPECT_EQ(weights.get("norm", {512}).format, WeightFormat::plain);
  EXPECT_EQ(weights.get("odd", {3, 33}).format, WeightFormat::plain);
  weights.encode_as(nullptr);
  EXPECT_EQ(weights.type_name(), "bf16");
}

TEST(BenchModels, WhatADeviceCannotDoIsAResult) {
  const auto ops = make_test_backend();
  BenchOptions quick;
  quick.quick = true;
  const auto problem = [&](ErrorKind kind) {
    BenchSample sample;
    sample.prepare = [kind]() -> std::function<void()> { throw Error(kind, "too much to ask"); };
    return Meter(*ops, quick).measure(sample).problem;
  };
  EXPECT_EQ(problem(ErrorKind::unsupported), "too much to ask");
  EXPECT_EQ(problem(ErrorKind::out_of_memory), "too much to ask");
  EXPECT_THROW(problem(ErrorKind::corrupt_file), Error);
}

}  // namespace
}  // namespace ernie_image
