#include "eval/tensor_difference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

Tensor floats(const std::vector<float>& values) {
  return Tensor::copy_of<float>(DType::f32, {static_cast<std::int64_t>(values.size())}, values);
}

TEST(TensorDifference, MeasuresErrorAndAngle) {
  const auto d = compare_tensors(floats({3, 0}), floats({3, 4}));
  ASSERT_TRUE(d);
  EXPECT_DOUBLE_EQ(d->max_absolute, 4);
  EXPECT_DOUBLE_EQ(d->nmse, 16.0 / 25.0);
  EXPECT_DOUBLE_EQ(d->relative_error, 0.8);
  EXPECT_DOUBLE_EQ(d->cosine.value(), 0.6);
}

TEST(TensorDifference, ComparesAcrossTypes) {
  const Tensor a = floats({1.0f, 2.5f});
  const auto d = compare_tensors(a, round_to(a, DType::bf16));
  ASSERT_TRUE(d);
  EXPECT_EQ(d->nmse, 0);
  EXPECT_NEAR(d->cosine.value(), 1, 1e-12);
}

TEST(TensorDifference, NamesTheFirstValueThatIsNotFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto one_sided = compare_tensors(floats({1, nan, nan}), floats({1, 2, 3}));
  ASSERT_TRUE(one_sided);
  EXPECT_EQ(one_sided->first_non_finite_a, 1);
  EXPECT_EQ(one_sided->first_non_finite_b, -1);
  EXPECT_TRUE(std::isinf(one_sided->relative_error));
}

TEST(TensorDifference, OfZerosIsNone) {
  const auto d = compare_tensors(floats({0, 0}), floats({0, 0}));
  ASSERT_TRUE(d);
  EXPECT_EQ(d->nmse, 0);
  EXPECT_FALSE(d->cosine.has_value());
}

TEST(TensorDifference, OtherShapesDoNotCompare) {
  EXPECT_FALSE(compare_tensors(floats({1, 2}), floats({1})));
}

TEST(TensorDifference, RefusesTypesItDoesNotKnow) {
  const Tensor a = Tensor::host(DType::f8_e4m3, {2});
  EXPECT_THROW(compare_tensors(a, a), Error);
}

}  // namespace
}  // namespace ernie_image
