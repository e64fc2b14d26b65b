#include "sampling/guidance.h"

#include <gtest/gtest.h>

#include <vector>

namespace ernie_image {
namespace {

Tensor vector_of(DType dtype, const std::vector<float>& values) {
  return round_to(
      Tensor::copy_of<float>(DType::f32, {static_cast<std::int64_t>(values.size())}, values),
      dtype);
}

TEST(Guidance, GoesFromTheNegativeThroughThePositive) {
  const Tensor guided =
      apply_guidance(vector_of(DType::f32, {1, 2}), vector_of(DType::f32, {3, 1}), 4.0);
  EXPECT_EQ(guided.data<float>()[0], 9);
  EXPECT_EQ(guided.data<float>()[1], -2);
}

/// Every value is exact in bf16, and another one if a rounding is left out: 1.8203125 without that
/// of the difference, 1.8125 without that of the product; the second row likewise.
TEST(Guidance, Bf16RoundsDifferenceProductAndSum) {
  const Tensor guided =
      to_float(apply_guidance(vector_of(DType::bf16, {-1.0703125f, 0.8125f}),
                              vector_of(DType::bf16, {-0.107421875f, 0.06982421875f}), 3.0));
  EXPECT_EQ(guided.data<float>()[0], 1.8046875f);
  EXPECT_EQ(guided.data<float>()[1], -1.40625f);
}

}  // namespace
}  // namespace ernie_image
