#include <array>
#include <cmath>

#include "verify/conformance.h"
#include "verify/oracle.h"

namespace ernie_image::verify {
namespace {

constexpr float kEps = 1e-6f;

/// f32: a few roundings, on results of up to about 4. bf16: after each of the roundings a value may
/// have gone the other way, and a factor of up to 1.5 makes a whole step two.
constexpr Tolerance kRounding = {.f32 = 2e-6f, .bf16_share = 0.006, .bf16_steps = 2.0f};

void rms_norm_matches(Verifier& v) {
  for (const std::int64_t width : {1, 7, 64, 100, 3072, 4096}) {
    const Tensor x = v.random({2, 3, width}, 5);
    const Tensor weight = v.random_f32({width}, 0.5f, 1.5f);
    v.expect_close(v.ops().rms_norm(v.up(x), *v.prepare(weight), kEps),
                   oracle::rms_norm(x, weight, kEps), kRounding);
  }
}

void rms_norm_of_tiny_values_depends_on_eps(Verifier& v) {
  const Tensor x = v.random({4, 64}, 1e-3f);
  const Tensor weight = v.random_f32({64}, 0.5f, 1.5f);
  for (const float eps : {1e-6f, 1e-3f}) {
    v.expect_close(v.ops().rms_norm(v.up(x), *v.prepare(weight), eps),
                   oracle::rms_norm(x, weight, eps), kRounding);
  }
}

void rms_norm_of_zeros_is_zero(Verifier& v) {
  const Tensor x = v.constant({2, 50}, 0);
  const Tensor weight = v.random_f32({50}, 0.5f, 1.5f);
  v.expect_close(v.ops().rms_norm(v.up(x), *v.prepare(weight), kEps), x, kExact);
}

void rms_norm_modulate_matches(Verifier& v) {
  for (const std::int64_t width : {1, 24, 77, 4096}) {
    const Tensor x = v.random({2, 5, width}, 3);
    const Tensor weight = v.random_f32({width}, 0.5f, 1.5f);
    const Tensor table = v.random({2, 6 * width}, 0.5f);
    const Tensor device_table = v.up(table);
    v.expect_close(v.ops().rms_norm_modulate(v.up(x), *v.prepare(weight), kEps, {device_table, 4},
                                             {device_table, 3}),
                   oracle::rms_norm_modulate(x, weight, kEps, {table, 4}, {table, 3}), kRounding);
  }
}

void layer_norm_modulate_matches(Verifier& v) {
  for (const std::int64_t width : {2, 24, 77, 4096}) {
    const Tensor x = v.random({2, 5, width}, 3);
    const Tensor table = v.random({2, 2 * width}, 0.5f);
    const Tensor device_table = v.up(table);
    v.expect_close(v.ops().layer_norm_modulate(v.up(x), kEps, {device_table, 0}, {device_table, 1}),
                   oracle::layer_norm_modulate(x, kEps, {table, 0}, {table, 1}), kRounding);
  }
}

/// With the mean of the squares minus the square of the mean, nothing would be left of it.
void layer_norm_takes_the_variance_about_the_mean(Verifier& v) {
  const Tensor x = v.random_f32({1, 2, 300}, 999.0f, 1001.0f);
  const Tensor table = v.random({1, 600}, 0.5f);
  const Tensor device_table = v.up(table);
  // The mean is a float: its error of up to 6e-5 / 2 shows in full.
  v.expect_close(v.ops().layer_norm_modulate(v.up(x), kEps, {device_table, 0}, {device_table, 1}),
                 oracle::layer_norm_modulate(x, kEps, {table, 0}, {table, 1}), {.f32 = 1.5e-4f});
}

/// Angles as a model has them: tables rounded to the activation dtype, kept as f32.
RotaryTable random_rotary(Verifier& v, const Shape& shape) {
  const Tensor angles = v.random_f32(shape, 0, 6);
  RotaryTable rotary = {Tensor::host(DType::f32, shape), Tensor::host(DType::f32, shape), {}};
  for (std::int64_t i = 0; i < angles.size(); ++i) {
    rotary.cos.data<float>()[i] = std::cos(angles.data<float>()[i]);
    rotary.sin.data<float>()[i] = std::sin(angles.data<float>()[i]);
  }
  rotary.cos = to_float(round_to(rotary.cos, v.dtype()));
  rotary.sin = to_float(round_to(rotary.sin, v.dtype()));
  return rotary;
}

RotaryTable on_device(Verifier& v, const RotaryTable& rotary) {
  return {v.up(rotary.cos), v.up(rotary.sin),
          rotary.row_scale.empty() ? Tensor() : v.up(rotary.row_scale)};
}

void rotation_alone_is_exact(Verifier& v) {
  for (const std::int64_t width : {2, 16, 24, 36, 128}) {
    const Tensor x = v.random({2, 5, 3, width}, 2);
    const RotaryTable rotary = random_rotary(v, {1, 5, width});
    // bf16: both products are exact in float. f32: one rounding more or less of each product.
    const Tolerance tolerance = {.f32 = 3e-7f, .bf16_share = 0.0, .bf16_steps = 0.0f};
    v.expect_close(v.ops().norm_rope(v.up(x), nullptr, kEps, on_device(v, rotary)),
                   oracle::norm_rope(x, {}, kEps, rotary), tolerance);
  }
}

void norm_rope_normalises_each_head_first(Verifier& v) {
  for (const std::int64_t width : {2, 24, 128}) {
    const Tensor x = v.random({2, 5, 3, width}, 2);
    const Tensor weight = v.random_f32({width}, 0.5f, 1.5f);
    const RotaryTable rotary = random_rotary(v, {1, 5, width});
    v.expect_close(v.ops().norm_rope(v.up(x), v.prepare(weight).get(), kEps, on_device(v, rotary)),
                   oracle::norm_rope(x, weight, kEps, rotary), kRounding);
  }
}

void norm_rope_takes_the_table_of_its_batch_row(Verifier& v) {
  const Tensor x = v.random({3, 4, 2, 32}, 2);
  const Tensor weight = v.random_f32({32}, 0.5f, 1.5f);
  const RotaryTable rotary = random_rotary(v, {3, 4, 32});
  v.expect_close(v.ops().norm_rope(v.up(x), v.prepare(weight).get(), kEps, on_device(v, rotary)),
                 oracle::norm_rope(x, weight, kEps, rotary), kRounding);
}

void norm_rope_scales_each_position(Verifier& v) {
  const Tensor x = v.random({2, 7, 2, 24}, 2);
  RotaryTable rotary = random_rotary(v, {1, 7, 24});
  rotary.row_scale = to_float(round_to(v.random_f32({1, 7}, 1.0f, 1.2f), v.dtype()));
  const Tolerance tolerance = {.f32 = 5e-7f, .bf16_share = 0.0, .bf16_steps = 0.0f};
  v.expect_close(v.ops().norm_rope(v.up(x), nullptr, kEps, on_device(v, rotary)),
                 oracle::norm_rope(x, {}, kEps, rotary), tolerance);
}

void norm_rope_without_a_table_only_normalises(Verifier& v) {
  const Tensor x = v.random({2, 4, 2, 40}, 2);
  const Tensor weight = v.random_f32({40}, 0.5f, 1.5f);
  v.expect_close(v.ops().norm_rope(v.up(x), v.prepare(weight).get(), kEps, {}),
                 oracle::norm_rope(x, weight, kEps, {}), kRounding);
  v.expect_close(v.ops().norm_rope(v.up(x), nullptr, kEps, {}), x, kExact);
}

void check_group_norm(Verifier& v, const Shape& shape, int groups, float low, float high,
                      Activation activation, const Tolerance& tolerance) {
  const Tensor x = round_to(v.random_f32(shape, low, high), v.dtype());
  const Tensor weight = v.random_f32({shape[3]}, 0.5f, 1.5f);
  const Tensor bias = v.random_f32({shape[3]}, -1, 1);
  v.expect_close(
      v.ops().group_norm(v.up(x), *v.prepare(weight), *v.prepare(bias), groups, kEps, activation),
      oracle::group_norm(x, weight, bias, groups, kEps, activation), tolerance);
}

void group_norm_matches_at_odd_sizes(Verifier& v) {
  for (const Activation activation : {Activation::none, Activation::silu}) {
    check_group_norm(v, {1, 1, 1, 4}, 2, -2, 2, activation, kRounding);
    check_group_norm(v, {2, 5, 3, 24}, 8, -2, 2, activation, kRounding);
    check_group_norm(v, {2, 7, 9, 33}, 3, -2, 2, activation, kRounding);
    check_group_norm(v, {1, 4, 4, 12}, 1, -2, 2, activation, kRounding);
  }
}

void group_norm_matches_over_many_pixels(Verifier& v) {
  check_group_norm(v, {2, 33, 31, 64}, 32, -2, 2, Activation::silu, kRounding);
  check_group_norm(v, {1, 9, 8, 512}, 32, -2, 2, Activation::silu, kRounding);
}

void group_norm_keeps_a_small_variance_beside_a_large_mean(Verifier& v) {
  // The float mean's error of 3e-5 shows in full: over the deviation of 0.58, times the weight of
  // up to 1.5.
  check_group_norm(v, {1, 40, 40, 32}, 4, 999, 1001, Activation::none, {.f32 = 8e-5f});
}

constexpr std::array kCases = {
    ConformanceCase{"rms_norm", "Matches", rms_norm_matches},
    ConformanceCase{"rms_norm", "OfTinyValuesDependsOnEps", rms_norm_of_tiny_values_depends_on_eps},
    ConformanceCase{"rms_norm", "OfZerosIsZero", rms_norm_of_zeros_is_zero},
    ConformanceCase{"rms_norm_modulate", "TakesTheVectorsOfItsBatchRow", rms_norm_modulate_matches},
    ConformanceCase{"layer_norm_modulate", "Matches", layer_norm_modulate_matches},
    ConformanceCase{"layer_norm_modulate", "TakesTheVarianceAboutTheMean",
                    layer_norm_takes_the_variance_about_the_mean, true},
    ConformanceCase{"norm_rope", "RotationAloneIsExact", rotation_alone_is_exact},
    ConformanceCase{"norm_rope", "NormalisesEachHeadFirst", norm_rope_normalises_each_head_first},
    ConformanceCase{"norm_rope", "TakesTheTableOfItsBatchRow",
                    norm_rope_takes_the_table_of_its_batch_row},
    ConformanceCase{"norm_rope", "ScalesEachPosition", norm_rope_scales_each_position},
    ConformanceCase{"norm_rope", "WithoutATableOnlyNormalises",
                    norm_rope_without_a_table_only_normalises},
    ConformanceCase{"group_norm", "MatchesAtOddSizes", group_norm_matches_at_odd_sizes},
    ConformanceCase{"group_norm", "MatchesOverManyPixels", group_norm_matches_over_many_pixels},
    ConformanceCase{"group_norm", "KeepsASmallVarianceBesideALargeMean",
                    group_norm_keeps_a_small_variance_beside_a_large_mean, true},
};

}  // namespace

std::span<const ConformanceCase> norm_cases() { return kCases; }

}  // namespace ernie_image::verify
