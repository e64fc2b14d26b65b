#include "adapters/low_rank.h"

#include <gtest/gtest.h>

#include <cmath>

#include "adapters/adapter_module.h"

namespace ernie_image {
namespace {

Tensor noise(const Shape& shape, std::uint32_t seed) {
  Tensor tensor = Tensor::host(DType::f32, shape);
  std::uint32_t state = seed;
  for (float& value : tensor.span<float>()) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) / static_cast<float>(1 << 23) - 1.0f;
  }
  return tensor;
}

/// Squared length of the difference over that of `expected`.
double relative_error(const Tensor& actual, const Tensor& expected) {
  double error = 0, power = 0;
  for (std::int64_t i = 0; i < expected.size(); ++i) {
    const double value = expected.data<float>()[i];
    error += std::pow(actual.data<float>()[i] - value, 2);
    power += value * value;
  }
  return error / power;
}

Tensor product(const LowRankMatrix& low) { return matrix_product(low.up, low.down); }

TEST(LowRank, OfFullRankIsTheMatrix) {
  const Tensor matrix = noise({24, 40}, 1);
  const LowRankMatrix low = low_rank_of(matrix, 100);
  EXPECT_EQ(low.down.shape(), (Shape{24, 40}));
  EXPECT_EQ(low.up.shape(), (Shape{24, 24}));
  EXPECT_LE(relative_error(product(low), matrix), 1e-10);
  EXPECT_NEAR(low.kept, 1, 1e-6);
}

TEST(LowRank, KeepsTheLargestSingularValues) {
  // diag(4, 3, 2, 1): of rank 2, (16 + 9) of 30.
  Tensor matrix = Tensor::host(DType::f32, {4, 4});
  for (int i = 0; i < 4; ++i) matrix.data<float>()[i * 5] = static_cast<float>(4 - i);
  const LowRankMatrix low = low_rank_of(matrix, 2);
  EXPECT_NEAR(low.kept, 25.0 / 30, 1e-6);
  EXPECT_NEAR(low.largest, 4, 1e-5);
  const Tensor near = product(low);
  EXPECT_NEAR(near.data<float>()[0], 4, 1e-5);
  EXPECT_NEAR(near.data<float>()[10], 0, 1e-5);
}

/// Larger matrices are not decomposed exactly: a matrix of that rank is found all the same, and of
/// one with noise as much is kept as the product says.
TEST(LowRank, LargeMatricesBySubspaceIteration) {
  const Tensor up = noise({600, 8}, 2), down = noise({8, 700}, 3);
  Tensor matrix = matrix_product(up, down);
  EXPECT_LE(relative_error(product(low_rank_of(matrix, 8)), matrix), 1e-9);
  const Tensor rest = noise({600, 700}, 4);
  for (std::int64_t i = 0; i < matrix.size(); ++i)
    matrix.data<float>()[i] += 0.05f * rest.data<float>()[i];
  const LowRankMatrix low = low_rank_of(matrix, 8);
  EXPECT_NEAR(relative_error(product(low), matrix), 1 - low.kept, 1e-5);
}

TEST(LowRank, OfAProductIsThatOfTheMatrix) {
  const Tensor up = noise({50, 12}, 5), down = noise({12, 70}, 6);
  const Tensor matrix = matrix_product(up, down);
  const LowRankMatrix whole = low_rank_of_product(up, down, 12);
  EXPECT_LE(relative_error(product(whole), matrix), 1e-9);
  const LowRankMatrix part = low_rank_of_product(up, down, 4), other = low_rank_of(matrix, 4);
  EXPECT_NEAR(part.kept, other.kept, 1e-5);
  EXPECT_LE(relative_error(product(part), product(other)), 1e-8);
}

TEST(LowRank, OfNothingIsNothing) {
  const LowRankMatrix low = low_rank_of(Tensor::host(DType::f32, {6, 5}), 2);
  EXPECT_EQ(low.kept, 1);
  EXPECT_EQ(relative_error(product(low), noise({6, 5}, 7)), 1);
}

}  // namespace
}  // namespace ernie_image
