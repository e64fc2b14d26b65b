// Promises that the CPU keeps beyond those of every backend.
#include <algorithm>
#include <cmath>

#include "op_test.h"
#include "verify/oracle.h"

namespace ernie_image {
namespace {

class CpuPrecision : public OpTest {};

TEST_P(CpuPrecision, GeluKeepsRelativeAccuracyInTheNegativeTail) {
  if (dtype() != DType::f32) GTEST_SKIP() << "bf16 is coarser than what is tested here";
  Tensor x = Tensor::host(DType::f32, {1000});
  Tensor up = Tensor::host(DType::f32, {1000});
  for (int i = 0; i < 1000; ++i) {
    x.data<float>()[i] = -8.0f * static_cast<float>(i + 1) / 1000.0f;
    up.data<float>()[i] = 1.0f;
  }
  const Tensor actual = ops().download(ops().gelu_mul(ops().upload(x), ops().upload(up)));
  for (int i = 0; i < 1000; ++i) {
    const double z = x.data<float>()[i];
    const double expected = 0.5 * z * std::erfc(-z * std::sqrt(0.5));
    // e^(-z^2 / 2) multiplies the rounding error of its argument, up to 32 here.
    EXPECT_NEAR(actual.data<float>()[i] / expected, 1.0, 4e-6) << z;
  }
}

TEST_P(CpuPrecision, AttentionDoesNotReadPaddedKeys) {
  const Tensor q = random({1, 5, 1, 16});
  Tensor k = random({1, 10, 1, 16});
  Tensor v = random({1, 10, 1, 16});
  const AttentionMask seven = {AttentionMask::Kind::key_lengths, {7}};
  const Tensor expected = oracle::attention(q, k, v, seven, 0.25);
  // All bits set is a NaN in both dtypes: one of them read would show.
  for (const Tensor& t : {k, v}) {
    const std::size_t begin = t.size_bytes() / 10 * 7;
    std::fill(t.bytes() + begin, t.bytes() + t.size_bytes(), std::byte{0xff});
  }
  expect_close(ops().attention(q, k, v, seven, 0.25f), expected,
               {.f32 = 2e-6f, .bf16_share = 0.01, .bf16_steps = 0.5f});
}

ERNIE_IMAGE_INSTANTIATE_OP_TEST(CpuPrecision);

}  // namespace
}  // namespace ernie_image
