#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "verify/conformance.h"
#include "verify/oracle.h"

namespace ernie_image::verify {
namespace {

/// Sizes around the widths of vectors and the size of a chunk of work.
const std::vector<Shape>& shapes() {
  static const std::vector<Shape> kShapes = {{1}, {3}, {16}, {37}, {2, 5, 129}, {7, 16384 / 3}};
  return kShapes;
}

/// A few roundings of float, of results up to a few.
constexpr Tolerance kActivation = {.f32 = 5e-7f};

void add_rounds_the_exact_sum(Verifier& v) {
  for (const Shape& shape : shapes()) {
    const Tensor a = v.random(shape, 3);
    const Tensor b = v.random(shape, 3);
    v.expect_close(v.ops().add(v.up(a), v.up(b)), oracle::add(a, b), kExact);
  }
}

void multiply_rounds_the_exact_product(Verifier& v) {
  for (const Shape& shape : shapes()) {
    const Tensor a = v.random(shape, 3);
    const Tensor b = v.random(shape, 3);
    v.expect_close(v.ops().multiply(v.up(a), v.up(b)), oracle::multiply(a, b), kExact);
  }
}

void gelu_matches_its_form(Verifier& v) {
  for (const Shape& shape : shapes()) {
    const Tensor x = v.random(shape, 6);
    v.expect_close(v.ops().gelu(v.up(x)), oracle::gelu(x, v.gelu()), kActivation);
  }
}

void gelu_mul_matches_its_form(Verifier& v) {
  for (const Shape& shape : shapes()) {
    const Tensor gate = v.random(shape, 6);
    const Tensor up = v.random(shape, 1);
    v.expect_close(v.ops().gelu_mul(v.up(gate), v.up(up)), oracle::gelu_mul(gate, up, v.gelu()),
                   kActivation);
  }
}

void silu_mul_matches(Verifier& v) {
  for (const Shape& shape : shapes()) {
    const Tensor gate = v.random(shape, 9);
    const Tensor up = v.random(shape, 1);
    v.expect_close(v.ops().silu_mul(v.up(gate), v.up(up)), oracle::silu_mul(gate, up), kActivation);
  }
}

void silu_matches(Verifier& v) {
  for (const Shape& shape : shapes()) {
    const Tensor x = v.random(shape, 9);
    v.expect_close(v.ops().silu(v.up(x)), oracle::silu(x), kActivation);
  }
}

void gelu_is_within_a_millionth_everywhere(Verifier& v) {
  constexpr std::int64_t kCount = 200001;  // evenly from -12 to 12
  Tensor sweep = Tensor::host(DType::f32, {kCount});
  for (std::int64_t i = 0; i < kCount; ++i)
    sweep.data<float>()[i] = 24.0f * (static_cast<float>(i) / (kCount - 1) - 0.5f);
  const Tensor x = round_to(sweep, v.dtype());
  const Tensor one = v.constant(x.shape(), 1);
  // Absolute for |gelu| <= 1; beyond, the rounding of the result itself is relative. Of the tanh
  // form little is left in the far negative quarter, where 1 + tanh cancels.
  const bool is_exact = v.gelu() == GeluForm::exact;
  v.expect_close(v.ops().gelu_mul(v.up(x), v.up(one)), oracle::gelu_mul(x, one, v.gelu()),
                 {.f32 = 3e-7f, .bf16_share = is_exact ? 0.003 : 0.3});
}

void activations_of_huge_values_are_finite(Verifier& v) {
  const std::vector<float> values = {1e4f, -1e4f, 1e30f, -1e30f, 100.0f, -100.0f};
  const Tensor x = round_to(Tensor::copy_of<float>(DType::f32, {6}, values), v.dtype());
  const Tensor one = v.up(v.constant({6}, 1));
  Tensor expected = to_float(x).reshaped({6});
  expected = Tensor::copy_of<float>(DType::f32, {6}, expected.span<float>());
  for (float& value : expected.span<float>()) value = std::max(value, 0.0f);
  const Tolerance tolerance = {.f32 = 1e-6f, .bf16_share = 1.0, .bf16_steps = 1e-4f};
  const Tensor device = v.up(x);
  for (const Tensor& y : {v.ops().silu(device), v.ops().gelu(device), v.ops().silu_mul(device, one),
                          v.ops().gelu_mul(device, one)}) {
    v.expect_close(y, round_to(expected, v.dtype()), tolerance);
  }
}

void activations_pass_nan_on(Verifier& v) {
  const Tensor x = v.constant({19}, std::numeric_limits<float>::quiet_NaN());
  const Tensor device = v.up(x);
  for (const Tensor& y : {v.ops().silu(device), v.ops().gelu(device),
                          v.ops().silu_mul(device, device), v.ops().gelu_mul(device, device),
                          v.ops().add(device, device), v.ops().multiply(device, device)}) {
    const Tensor actual = to_float(v.ops().download(y));
    for (const float value : actual.span<float>()) v.expect(std::isnan(value), "a NaN was lost");
  }
}

void gated_add_takes_the_gate_of_its_batch_row(Verifier& v) {
  for (const std::int64_t width : {1, 24, 77, 4096}) {
    const Tensor x = v.random({2, 5, width}, 2);
    const Tensor branch = v.random({2, 5, width}, 2);
    const Tensor table = v.random({2, 3 * width});
    const Tensor device_table = v.up(table);
    // bf16: the product is exact in float. f32: a fused multiply-add saves a rounding.
    const Tolerance tolerance = {.f32 = 2e-7f, .bf16_share = 0.0, .bf16_steps = 0.0f};
    v.expect_close(v.ops().gated_add(v.up(x), {device_table, 2}, v.up(branch)),
                   oracle::gated_add(x, {table, 2}, branch), tolerance);
  }
}

void cast_rounds_to_nearest_even(Verifier& v) {
  for (const Shape& shape : shapes()) {
    const Tensor x = v.random(shape, 100);
    const Tensor device = v.up(x);
    for (const DType target : {DType::f32, DType::bf16})
      v.expect_close(v.ops().cast(device, target), oracle::cast(x, target), kExact);
    v.expect(v.ops().cast(device, v.dtype()).bytes() == device.bytes(),
             "a cast to the same dtype copied");
  }
}

constexpr std::array kCases = {
    ConformanceCase{"add", "RoundsTheExactSum", add_rounds_the_exact_sum},
    ConformanceCase{"multiply", "RoundsTheExactProduct", multiply_rounds_the_exact_product},
    ConformanceCase{"gelu", "MatchesItsForm", gelu_matches_its_form},
    ConformanceCase{"gelu_mul", "MatchesItsForm", gelu_mul_matches_its_form},
    ConformanceCase{"gelu_mul", "IsWithinAMillionthEverywhere",
                    gelu_is_within_a_millionth_everywhere},
    ConformanceCase{"silu_mul", "Matches", silu_mul_matches},
    ConformanceCase{"silu", "Matches", silu_matches},
    ConformanceCase{"silu", "OfHugeValuesIsFinite", activations_of_huge_values_are_finite},
    ConformanceCase{"silu", "PassesNanOn", activations_pass_nan_on},
    ConformanceCase{"gated_add", "TakesTheGateOfItsBatchRow",
                    gated_add_takes_the_gate_of_its_batch_row},
    ConformanceCase{"cast", "RoundsToNearestEven", cast_rounds_to_nearest_even},
};

}  // namespace

std::span<const ConformanceCase> elementwise_cases() { return kCases; }

}  // namespace ernie_image::verify
