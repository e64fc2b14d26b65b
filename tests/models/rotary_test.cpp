// Rotary and time tables against the reference's.
#include "nn/rotary.h"

#include <gtest/gtest.h>

#include <cmath>

#include "models/transformer.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

using golden::Case;

const Case& tables() {
  static const Case golden_case(golden::data_path("reference/units/tables"));
  return golden_case;
}

/// f(angles * scale), for cos and sin.
template <typename Function>
Tensor map(const Tensor& tensor, Function function) {
  Tensor result = Tensor::host(DType::f32, tensor.shape());
  for (std::int64_t i = 0; i < tensor.size(); ++i)
    result.data<float>()[i] = function(tensor.data<float>()[i]);
  return result;
}

TEST(AxesRope, MatchesTheReference) {
  const Tensor ids = tables().tensors.tensor("dit_rope.position_ids");
  std::vector<Position3> row;
  for (std::int64_t i = 0; i < ids.dim(1); ++i) {
    const float* id = ids.data<float>() + 3 * i;
    row.push_back({id[0], id[1], id[2]});
  }
  const Tensor expected = tables().tensors.tensor("dit_rope.angles");
  const Tensor angles =
      axes_rope_angles({&row, 1}, 256.0f, {32, 48, 48}).reshaped(expected.shape());
  // exp and pow differ in the last bit between math libraries.
  EXPECT_LE(golden::compare(angles, expected).max_abs,
            1e-6 * golden::compare(angles, expected).max_magnitude);
  EXPECT_LE(golden::compare(map(angles, [](float a) { return std::cos(a); }),
                            tables().tensors.tensor("dit_rope.cos"))
                .max_abs,
            1e-5);
  EXPECT_LE(golden::compare(map(angles, [](float a) { return std::sin(a); }),
                            tables().tensors.tensor("dit_rope.sin"))
                .max_abs,
            1e-5);
}

struct YarnCase {
  const char* name;
  std::int64_t head_dim;
  RopeParameters rope;
};

RopeParameters yarn(double factor, std::int64_t original) {
  RopeParameters rope;
  rope.factor = factor;
  rope.original_max_position_embeddings = original;
  rope.llama_4_scaling_beta = 0.1;
  return rope;
}

class Yarn : public ::testing::TestWithParam<YarnCase> {};

TEST_P(Yarn, FrequenciesAnglesAndQueryScaleMatchTheReference) {
  const auto& [name, head_dim, rope] = GetParam();
  const auto stored = [&, prefix = std::string("yarn.") + name + "."](const char* what) {
    return tables().tensors.tensor(prefix + what);
  };
  const std::vector<float> frequencies = yarn_inverse_frequencies(rope, head_dim);
  const Tensor expected = stored("inv_freq");
  ASSERT_EQ(static_cast<std::int64_t>(frequencies.size()), expected.size());
  for (std::size_t j = 0; j < frequencies.size(); ++j) {
    EXPECT_NEAR(frequencies[j], expected.data<float>()[j], 1e-6 * expected.data<float>()[j]) << j;
  }
  const Tensor positions = stored("positions");
  for (std::int64_t i = 0; i < positions.size(); ++i) {
    const std::int64_t position = positions.data<std::int64_t>()[i];
    const Tensor angles = yarn_rope_angles(rope, head_dim, position, 1);
    for (std::int64_t d = 0; d < head_dim; ++d) {
      // A last-bit difference of the frequency is multiplied by the position.
      const double limit = 1e-5 + 1e-7 * static_cast<double>(position);
      EXPECT_NEAR(std::cos(angles.data<float>()[d]), stored("cos").data<float>()[i * head_dim + d],
                  limit);
      EXPECT_NEAR(std::sin(angles.data<float>()[d]), stored("sin").data<float>()[i * head_dim + d],
                  limit);
    }
    const Tensor scale = llama_4_query_scale(rope, position, 1);
    EXPECT_NEAR(scale.data<float>()[0], stored("llama4_query_scale").data<float>()[i], 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Reference, Yarn,
                         ::testing::Values(YarnCase{"real", 128, yarn(16.0, 16384)},
                                           YarnCase{"small16", 16, yarn(4.0, 16)},
                                           YarnCase{"small32", 16, yarn(8.0, 32)}),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(TimestepEmbedding, HasSinesFirstAndMatchesTheReference) {
  const Tensor timesteps = tables().tensors.tensor("time.timesteps_fp32");
  const Tensor expected = tables().tensors.tensor("time.embedding4096_from_fp32");
  const auto difference =
      golden::compare(timestep_embedding(timesteps.span<float>(), 4096), expected);
  EXPECT_LE(difference.max_abs, 1e-4);  // last-bit differences of exp times up to 1000
}

}  // namespace
}  // namespace ernie_image
