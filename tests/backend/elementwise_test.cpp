#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "op_test.h"
#include "oracle.h"

namespace ernie_image {
namespace {

class Elementwise : public OpTest {};

/// Sizes around the widths of vectors and the size of a chunk of work.
const std::vector<Shape> kShapes = {{1}, {3}, {16}, {37}, {2, 5, 129}, {7, 16384 / 3}};

TEST_P(Elementwise, AddRoundsTheExactSum) {
  for (const Shape& shape : kShapes) {
    const Tensor a = random(shape, 3);
    const Tensor b = random(shape, 3);
    expect_close(ops().add(ops().upload(a), ops().upload(b)), oracle::add(a, b), kExact);
  }
}

TEST_P(Elementwise, GeluMulMatchesTheExactForm) {
  for (const Shape& shape : kShapes) {
    const Tensor gate = random(shape, 6);
    const Tensor up = random(shape, 1);
    expect_close(ops().gelu_mul(ops().upload(gate), ops().upload(up)), oracle::gelu_mul(gate, up),
                 {.f32 = 5e-7f});
  }
}

TEST_P(Elementwise, SiluMulMatches) {
  for (const Shape& shape : kShapes) {
    const Tensor gate = random(shape, 9);
    const Tensor up = random(shape, 1);
    expect_close(ops().silu_mul(ops().upload(gate), ops().upload(up)), oracle::silu_mul(gate, up),
                 {.f32 = 5e-7f});
  }
}

TEST_P(Elementwise, SiluMatches) {
  for (const Shape& shape : kShapes) {
    const Tensor x = random(shape, 9);
    expect_close(ops().silu(ops().upload(x)), oracle::silu(x), {.f32 = 5e-7f});
  }
}

/// Evenly from -12 to 12.
Tensor sweep(DType dtype) {
  constexpr std::int64_t kCount = 200001;
  Tensor x = Tensor::host(DType::f32, {kCount});
  for (std::int64_t i = 0; i < kCount; ++i) {
    x.data<float>()[i] = 24.0f * (static_cast<float>(i) / (kCount - 1) - 0.5f);
  }
  return round_to(x, dtype);
}

TEST_P(Elementwise, GeluIsWithinAMillionthEverywhere) {
  const Tensor x = sweep(dtype());
  Tensor one = Tensor::host(DType::f32, x.shape());
  for (float& value : one.span<float>()) value = 1.0f;
  const Tensor up = round_to(one, dtype());
  // Absolute for |gelu| <= 1; beyond, the rounding of the result itself is relative.
  expect_close(ops().gelu_mul(ops().upload(x), ops().upload(up)), oracle::gelu_mul(x, up),
               {.f32 = 3e-7f});
}

TEST_P(Elementwise, GeluKeepsRelativeAccuracyInTheNegativeTail) {
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

TEST_P(Elementwise, ActivationsOfHugeValuesAreFinite) {
  Tensor x = Tensor::host(DType::f32, {6});
  const float values[] = {1e4f, -1e4f, 1e30f, -1e30f, 100.0f, -100.0f};
  for (int i = 0; i < 6; ++i) x.data<float>()[i] = values[i];
  const Tensor rounded = round_to(x, dtype());
  Tensor one = Tensor::host(DType::f32, {6});
  for (float& value : one.span<float>()) value = 1.0f;
  const Tensor device = ops().upload(rounded);
  const Tensor up = ops().upload(round_to(one, dtype()));
  const Tensor wide = to_float(rounded);
  for (const Tensor& y :
       {ops().silu(device), ops().silu_mul(device, up), ops().gelu_mul(device, up)}) {
    const Tensor actual = to_float(ops().download(y));
    for (int i = 0; i < 6; ++i) {
      const float x_i = wide.data<float>()[i];
      EXPECT_NEAR(actual.data<float>()[i], x_i > 0 ? x_i : 0.0f, 1e-6f * std::abs(x_i)) << x_i;
    }
  }
}

TEST_P(Elementwise, ActivationsPassNanOn) {
  Tensor x = Tensor::host(DType::f32, {19});
  for (float& value : x.span<float>()) value = std::numeric_limits<float>::quiet_NaN();
  const Tensor device = ops().upload(round_to(x, dtype()));
  for (const Tensor& y : {ops().silu(device), ops().silu_mul(device, device),
                          ops().gelu_mul(device, device), ops().add(device, device)}) {
    const Tensor actual = to_float(ops().download(y));
    for (const float value : actual.span<float>()) EXPECT_TRUE(std::isnan(value));
  }
}

TEST_P(Elementwise, GatedAddTakesTheGateOfItsBatchRow) {
  for (const std::int64_t width : {1, 24, 77, 4096}) {
    const Tensor x = random({2, 5, width}, 2);
    const Tensor branch = random({2, 5, width}, 2);
    const Tensor table = random({2, 3 * width});
    const Tensor device_table = ops().upload(table);
    // bf16: the product is exact in float. f32: a fused multiply-add saves a rounding.
    const Tolerance tolerance = {.f32 = 2e-7f, .bf16_share = 0.0, .bf16_steps = 0.0f};
    expect_close(ops().gated_add(ops().upload(x), {device_table, 2}, ops().upload(branch)),
                 oracle::gated_add(x, {table, 2}, branch), tolerance);
  }
}

TEST_P(Elementwise, CastRoundsToNearestEven) {
  for (const Shape& shape : kShapes) {
    const Tensor x = random(shape, 100);
    for (const DType target : {DType::f32, DType::bf16}) {
      expect_close(ops().cast(ops().upload(x), target), oracle::cast(x, target), kExact);
    }
  }
}

TEST_P(Elementwise, CastToItsOwnDtypeIsTheTensorItself) {
  const Tensor x = ops().upload(random({5, 7}));
  EXPECT_EQ(ops().cast(x, dtype()).bytes(), x.bytes());
}

TEST_P(Elementwise, EmbeddingPicksAndConvertsRows) {
  const std::vector<std::int32_t> ids = {3, 0, 10, 3};
  for (const std::int64_t width : {5, 64, 100}) {
    for (const DType stored : {DType::f32, DType::bf16}) {
      const Tensor table = round_to(random_f32({11, width}, -1, 1), stored);
      const WeightHandle handle = prepare(table, WeightUse::embedding);
      expect_close(ops().embedding(ids, *handle, dtype()), oracle::embedding(ids, table, dtype()),
                   kExact);
    }
  }
}

TEST_P(Elementwise, EmbeddingWidensHalfPrecisionRows) {
  Tensor table = Tensor::host(DType::f16, {2, 3});
  const std::uint16_t rows[] = {0x3c00, 0xc000, 0x0000, 0x3800, 0x4900, 0x0400};
  for (int i = 0; i < 6; ++i) table.data<std::uint16_t>()[i] = rows[i];
  Tensor expected = Tensor::host(DType::f32, {1, 3});
  const float second_row[] = {0.5f, 10.0f, 0x1p-14f};
  for (int i = 0; i < 3; ++i) expected.data<float>()[i] = second_row[i];
  const WeightHandle handle = prepare(table, WeightUse::embedding);
  const std::vector<std::int32_t> ids = {1};
  expect_close(ops().embedding(ids, *handle, dtype()), round_to(expected, dtype()), kExact);
}

class Layout : public OpTest {};

TEST_P(Layout, ConcatRowsJoinsWithinEachBatchRow) {
  const Tensor a = random({3, 5, 33});
  const Tensor b = random({3, 2, 33});
  expect_close(ops().concat_rows(ops().upload(a), ops().upload(b)), oracle::concat_rows(a, b),
               kExact);
}

TEST_P(Layout, SliceRowsCutsEachBatchRow) {
  const Tensor x = random({3, 9, 33});
  expect_close(ops().slice_rows(ops().upload(x), 2, 4), oracle::slice_rows(x, 2, 4), kExact);
}

TEST_P(Layout, TransposeRowsSwapsTheLastTwoAxes) {
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{2, 3, 200}, Shape{2, 130, 17}}) {
    const Tensor x = random(shape);
    expect_close(ops().transpose_rows(ops().upload(x)), oracle::transpose_rows(x), kExact);
  }
}

TEST_P(Layout, UpsampleRepeatsEachPixelFourTimes) {
  const Tensor x = random({2, 3, 5, 7});
  expect_close(ops().upsample_nearest2x(ops().upload(x)), oracle::upsample_nearest2x(x), kExact);
}

ERNIE_IMAGE_INSTANTIATE_OP_TEST(Elementwise);
ERNIE_IMAGE_INSTANTIATE_OP_TEST(Layout);

}  // namespace
}  // namespace ernie_image
