#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>

#include "op_test.h"
#include "oracle.h"

namespace ernie_image {
namespace {

constexpr float kEps = 1e-6f;

/// f32: a few roundings, on results of up to about 4. bf16: after each of the roundings a value may
/// have gone the other way, and a factor of up to 1.5 makes a whole step two.
constexpr Tolerance kRounding = {.f32 = 2e-6f, .bf16_share = 0.006, .bf16_steps = 2.0f};

class Norm : public OpTest {};

TEST_P(Norm, RmsNormMatches) {
  for (const std::int64_t width : {1, 7, 64, 100, 4096}) {
    const Tensor x = random({2, 3, width}, 5);
    const Tensor weight = random_f32({width}, 0.5f, 1.5f);
    expect_close(ops().rms_norm(ops().upload(x), *prepare(weight), kEps),
                 oracle::rms_norm(x, weight, kEps), kRounding);
  }
}

TEST_P(Norm, RmsNormOfTinyValuesDependsOnEps) {
  const Tensor x = random({4, 64}, 1e-3f);
  const Tensor weight = random_f32({64}, 0.5f, 1.5f);
  for (const float eps : {1e-6f, 1e-3f}) {
    expect_close(ops().rms_norm(ops().upload(x), *prepare(weight), eps),
                 oracle::rms_norm(x, weight, eps), kRounding);
  }
}

TEST_P(Norm, RmsNormOfZerosIsZero) {
  const Tensor x = Tensor::host(dtype(), {2, 50});
  const Tensor weight = random_f32({50}, 0.5f, 1.5f);
  expect_close(ops().rms_norm(ops().upload(x), *prepare(weight), kEps), x, kExact);
}

TEST_P(Norm, RmsNormModulateTakesTheVectorsOfItsBatchRow) {
  for (const std::int64_t width : {1, 24, 77, 4096}) {
    const Tensor x = random({2, 5, width}, 3);
    const Tensor weight = random_f32({width}, 0.5f, 1.5f);
    const Tensor table = random({2, 6 * width}, 0.5f);
    const Tensor device_table = ops().upload(table);
    expect_close(ops().rms_norm_modulate(ops().upload(x), *prepare(weight), kEps, {device_table, 4},
                                         {device_table, 3}),
                 oracle::rms_norm_modulate(x, weight, kEps, {table, 4}, {table, 3}), kRounding);
  }
}

TEST_P(Norm, LayerNormModulateMatches) {
  for (const std::int64_t width : {2, 24, 77, 4096}) {
    const Tensor x = random({2, 5, width}, 3);
    const Tensor table = random({2, 2 * width}, 0.5f);
    const Tensor device_table = ops().upload(table);
    expect_close(
        ops().layer_norm_modulate(ops().upload(x), kEps, {device_table, 0}, {device_table, 1}),
        oracle::layer_norm_modulate(x, kEps, {table, 0}, {table, 1}), kRounding);
  }
}

TEST_P(Norm, LayerNormTakesTheVarianceAboutTheMean) {
  // With the mean of the squares minus the square of the mean, nothing would be left of it.
  Tensor x = random_f32({1, 2, 300}, 999.0f, 1001.0f);
  if (dtype() == DType::bf16) GTEST_SKIP() << "bf16 has no such values";
  const Tensor table = random({1, 600}, 0.5f);
  const Tensor device_table = ops().upload(table);
  // The mean is a float: its error of up to 6e-5 / 2 shows in full.
  expect_close(
      ops().layer_norm_modulate(ops().upload(x), kEps, {device_table, 0}, {device_table, 1}),
      oracle::layer_norm_modulate(x, kEps, {table, 0}, {table, 1}), {.f32 = 1.5e-4f});
}

/// Angles as a model has them: tables rounded to the activation dtype, kept as f32.
RotaryTable random_rotary(const Tensor& angles, DType dtype) {
  RotaryTable rotary = {
      Tensor::host(DType::f32, angles.shape()), Tensor::host(DType::f32, angles.shape()), {}};
  for (std::int64_t i = 0; i < angles.size(); ++i) {
    rotary.cos.data<float>()[i] = std::cos(angles.data<float>()[i]);
    rotary.sin.data<float>()[i] = std::sin(angles.data<float>()[i]);
  }
  rotary.cos = to_float(round_to(rotary.cos, dtype));
  rotary.sin = to_float(round_to(rotary.sin, dtype));
  return rotary;
}

TEST_P(Norm, RotationAloneIsExact) {
  for (const std::int64_t width : {2, 16, 24, 36, 128}) {
    const Tensor x = random({2, 5, 3, width}, 2);
    const RotaryTable rotary = random_rotary(random_f32({1, 5, width}, 0, 6), dtype());
    // bf16: both products are exact in float. f32: one rounding more or less of each product.
    const Tolerance tolerance = {.f32 = 3e-7f, .bf16_share = 0.0, .bf16_steps = 0.0f};
    expect_close(ops().norm_rope(ops().upload(x), nullptr, kEps, rotary),
                 oracle::norm_rope(x, {}, kEps, rotary), tolerance);
  }
}

TEST_P(Norm, NormRopeNormalisesEachHeadFirst) {
  for (const std::int64_t width : {2, 24, 128}) {
    const Tensor x = random({2, 5, 3, width}, 2);
    const Tensor weight = random_f32({width}, 0.5f, 1.5f);
    const RotaryTable rotary = random_rotary(random_f32({1, 5, width}, 0, 6), dtype());
    expect_close(ops().norm_rope(ops().upload(x), prepare(weight).get(), kEps, rotary),
                 oracle::norm_rope(x, weight, kEps, rotary), kRounding);
  }
}

TEST_P(Norm, NormRopeTakesTheTableOfItsBatchRow) {
  const Tensor x = random({3, 4, 2, 32}, 2);
  const Tensor weight = random_f32({32}, 0.5f, 1.5f);
  const RotaryTable rotary = random_rotary(random_f32({3, 4, 32}, 0, 6), dtype());
  expect_close(ops().norm_rope(ops().upload(x), prepare(weight).get(), kEps, rotary),
               oracle::norm_rope(x, weight, kEps, rotary), kRounding);
}

TEST_P(Norm, NormRopeScalesEachPosition) {
  const Tensor x = random({2, 7, 2, 24}, 2);
  RotaryTable rotary = random_rotary(random_f32({1, 7, 24}, 0, 6), dtype());
  rotary.row_scale = to_float(round_to(random_f32({1, 7}, 1.0f, 1.2f), dtype()));
  const Tolerance tolerance = {.f32 = 5e-7f, .bf16_share = 0.0, .bf16_steps = 0.0f};
  expect_close(ops().norm_rope(ops().upload(x), nullptr, kEps, rotary),
               oracle::norm_rope(x, {}, kEps, rotary), tolerance);
}

TEST_P(Norm, NormRopeWithoutATableOnlyNormalises) {
  const Tensor x = random({2, 4, 2, 40}, 2);
  const Tensor weight = random_f32({40}, 0.5f, 1.5f);
  expect_close(ops().norm_rope(ops().upload(x), prepare(weight).get(), kEps, {}),
               oracle::norm_rope(x, weight, kEps, {}), kRounding);
  expect_close(ops().norm_rope(ops().upload(x), nullptr, kEps, {}), x, kExact);
}

class GroupNorm : public OpTest {
 protected:
  void check(const Shape& shape, int groups, float low, float high, Activation activation,
             const Tolerance& tolerance) {
    const Tensor x = round_to(random_f32(shape, low, high), dtype());
    const Tensor weight = random_f32({shape[3]}, 0.5f, 1.5f);
    const Tensor bias = random_f32({shape[3]}, -1, 1);
    expect_close(ops().group_norm(ops().upload(x), *prepare(weight), *prepare(bias), groups, kEps,
                                  activation),
                 oracle::group_norm(x, weight, bias, groups, kEps, activation), tolerance);
  }
};

TEST_P(GroupNorm, MatchesAtOddSizes) {
  for (const Activation activation : {Activation::none, Activation::silu}) {
    check({1, 1, 1, 4}, 2, -2, 2, activation, kRounding);
    check({2, 5, 3, 24}, 8, -2, 2, activation, kRounding);
    check({2, 7, 9, 33}, 3, -2, 2, activation, kRounding);
    check({1, 4, 4, 12}, 1, -2, 2, activation, kRounding);
  }
}

TEST_P(GroupNorm, JoinsTheStatisticsOfManyStrips) {
  check({2, 33, 31, 64}, 32, -2, 2, Activation::silu, kRounding);
}

TEST_P(GroupNorm, KeepsASmallVarianceBesideALargeMean) {
  if (dtype() == DType::bf16) GTEST_SKIP() << "bf16 has no such values";
  // The float mean's error of 3e-5 shows in full: over the deviation of 0.58, times the weight of
  // up to 1.5.
  check({1, 40, 40, 32}, 4, 999, 1001, Activation::none, {.f32 = 8e-5f});
}

ERNIE_IMAGE_INSTANTIATE_OP_TEST(Norm);
ERNIE_IMAGE_INSTANTIATE_OP_TEST(GroupNorm);

}  // namespace
}  // namespace ernie_image
