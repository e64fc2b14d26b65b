// Against torch.randn on the CPU. The reference's vector log, sin and cos differ from libm by up to
// 7e-7 of values up to 6, hence the 2e-6.
#include "sampling/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "core/half.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

constexpr float kTolerance = 2e-6f;

struct Numbers : ::testing::Test {
  golden::Case golden_case{golden::data_path("reference/rng/torch_cpu")};

  std::vector<float> expected(const std::string& name) const {
    const Tensor tensor = to_float(golden_case.tensors.tensor(name));
    return {tensor.span<float>().begin(), tensor.span<float>().end()};
  }
};

std::vector<float> draw(TorchGenerator& generator, std::size_t count, Precision precision) {
  std::vector<float> values(count);
  generator.randn(values, precision);
  return values;
}

std::size_t element_count(const nlohmann::json& shape) {
  std::size_t count = 1;
  for (const auto& extent : shape) count *= extent.get<std::size_t>();
  return count;
}

// What the case keeps of a large tensor: 256 values from either end.
std::vector<float> ends(const std::vector<float>& values) {
  std::vector<float> result(values.begin(), values.begin() + 256);
  result.insert(result.end(), values.end() - 256, values.end());
  return result;
}

// In bf16 a difference of 1e-7 before rounding can become a whole step of 2^-8 (at values below 2)
// when the value lies at a rounding boundary: at most one value in a thousand.
void expect_near(const std::vector<float>& actual, const std::vector<float>& expected,
                 Precision precision, const std::string& name) {
  ASSERT_EQ(actual.size(), expected.size()) << name;
  std::size_t off_by_a_step = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (precision == Precision::bf16 && actual[i] != expected[i]) {
      ++off_by_a_step;
      EXPECT_NEAR(actual[i], expected[i], std::abs(expected[i]) / 128) << name << " " << i;
    } else {
      EXPECT_NEAR(actual[i], expected[i], kTolerance) << name << " element " << i;
    }
  }
  EXPECT_LE(off_by_a_step, expected.size() / 1000) << name;
}

TEST_F(Numbers, EverySeedAndSizeAgreesInBothPrecisions) {
  std::size_t compared = 0;
  for (const auto& entry : golden_case.json["entries"]) {
    const auto key = entry["key"].get<std::string>();
    const bool bf16 = entry["dtype"] == "bfloat16";
    const Precision precision = bf16 ? Precision::bf16 : Precision::fp32;
    TorchGenerator generator(entry["seed"].get<std::uint64_t>());
    std::vector<float> actual = draw(generator, element_count(entry["shape"]), precision);
    if (entry.contains("sum_float64")) {
      // 524288 values, each within the tolerance above, those of bf16 within a step rarely.
      EXPECT_NEAR(std::accumulate(actual.begin(), actual.end(), 0.0),
                  entry["sum_float64"].get<double>(), 0.05);
    }
    if (entry.contains("stored")) actual = ends(actual);
    expect_near(actual, expected(key), precision, key);
    ++compared;
  }
  EXPECT_GE(compared, 100u);
}

TEST_F(Numbers, ConsecutiveDrawsContinueTheStream) {
  TorchGenerator generator(42);
  for (const std::string name : {"draw0.n7", "draw1.n20", "draw2.n16", "draw3.n3", "draw4.n40"}) {
    const std::vector<float> values = expected("sequence.seed42." + name);
    expect_near(draw(generator, values.size(), Precision::fp32), values, Precision::fp32, name);
  }
}

TEST_F(Numbers, OnlyTheLow32BitsOfTheSeedCount) {
  TorchGenerator one(1), high(4294967297u);
  EXPECT_EQ(draw(one, 100, Precision::fp32), draw(high, 100, Precision::fp32));
}

TEST_F(Numbers, Bf16ValuesAreExactInBf16) {
  TorchGenerator generator(7);
  for (const float value : draw(generator, 77, Precision::bf16)) {
    EXPECT_EQ(value, round_to_bf16(value));
  }
}

TEST_F(Numbers, AnEmptyDrawTakesNothing) {
  TorchGenerator generator(3), untouched(3);
  draw(generator, 0, Precision::fp32);
  EXPECT_EQ(draw(generator, 5, Precision::fp32), draw(untouched, 5, Precision::fp32));
}

}  // namespace
}  // namespace ernie_image
