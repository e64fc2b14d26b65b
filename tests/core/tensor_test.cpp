#include "core/tensor.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>

#include "core/half.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

TEST(Shape, CountsElements) {
  EXPECT_EQ(num_elements({}), 1);
  EXPECT_EQ(num_elements({2, 3, 4}), 24);
  EXPECT_EQ(num_elements({2, 0, 4}), 0);
  EXPECT_EQ(to_string({2, 128, 4}), "[2, 128, 4]");
}

TEST(Shape, RejectsNegativeExtentsAndOverflow) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 40;
  EXPECT_THROW(num_elements({-1, 2}), Error);
  EXPECT_THROW(num_elements({0, -1}), Error);
  EXPECT_THROW(num_elements({kHuge, kHuge}), Error);
  EXPECT_THROW(num_elements({std::int64_t{1} << 31, std::int64_t{1} << 32}), Error);
  EXPECT_EQ(num_elements({kHuge, kHuge, 0}), 0);
}

TEST(Tensor, HostMemoryIsZeroedAndAligned) {
  const Tensor tensor = Tensor::host(DType::f32, {3, 5});
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.bytes()) % 64, 0u);
  for (const float value : tensor.span<float>()) EXPECT_EQ(value, 0);
  EXPECT_EQ(tensor.size(), 15);
  EXPECT_EQ(tensor.size_bytes(), 60u);
  EXPECT_EQ(tensor.dim(-1), 5);
  EXPECT_EQ(tensor.dim(0), 3);
  EXPECT_FALSE(tensor.empty());
  EXPECT_TRUE(Tensor().empty());
}

TEST(Tensor, ViewsShareMemoryAndKeepItAlive) {
  Tensor slice;
  Tensor flat;
  {
    constexpr std::array<float, 6> kValues = {0, 1, 2, 3, 4, 5};
    const Tensor tensor = Tensor::copy_of<float>(DType::f32, {3, 2}, kValues);
    slice = tensor.slice(1, 2);
    flat = tensor.reshaped({6});
    tensor.data<float>()[3] = 30;
  }
  EXPECT_EQ(slice.shape(), (Shape{2, 2}));
  EXPECT_EQ(slice.data<float>()[0], 2);
  EXPECT_EQ(slice.data<float>()[1], 30);
  EXPECT_EQ(flat.data<float>()[3], 30);
  flat = {};
  EXPECT_EQ(slice.data<float>()[1], 30) << "of the last view alone";
}

TEST(Tensor, SlicesBeginAtAWholeRowHoweverManyAxesItHas) {
  const Tensor tensor = Tensor::host(DType::f32, {3, 4, 5});
  for (std::int64_t i = 0; i < tensor.size(); ++i) tensor.data<float>()[i] = static_cast<float>(i);
  const Tensor slice = tensor.slice(2, 1);
  EXPECT_EQ(slice.shape(), (Shape{1, 4, 5}));
  EXPECT_EQ(slice.size(), 20);
  EXPECT_EQ(slice.data<float>()[0], 40);
}

TEST(Tensor, SlicesOfNothingAreEmpty) {
  const Tensor tensor = Tensor::host(DType::bf16, {0, 4});
  EXPECT_EQ(tensor.slice(0, 0).size(), 0);
}

TEST(Tensor, ConvertsBetweenFloatAndTheHalves) {
  constexpr std::array<float, 4> kValues = {1.0f, -2.5f, 0x1.01p0f, 0x1.03p0f};
  const Tensor tensor = Tensor::copy_of<float>(DType::f32, {4}, kValues);
  const Tensor half = round_to(tensor, DType::bf16);
  EXPECT_EQ(half.dtype(), DType::bf16);
  const Tensor back = to_float(half);
  EXPECT_EQ(back.data<float>()[1], -2.5f);
  EXPECT_EQ(back.data<float>()[2], 1.0f) << "a tie goes to the even neighbour, here down";
  EXPECT_EQ(back.data<float>()[3], 0x1.04p0f) << "and here up";
  EXPECT_EQ(round_to(tensor, DType::f32).bytes(), tensor.bytes());

  constexpr std::array<std::uint16_t, 2> kHalves = {0x3c00, 0xc000};  // 1 and -2 in f16
  const Tensor widened = to_float(Tensor::copy_of<std::uint16_t>(DType::f16, {2}, kHalves));
  EXPECT_EQ(widened.data<float>()[0], 1);
  EXPECT_EQ(widened.data<float>()[1], -2);
}

}  // namespace
}  // namespace ernie_image
