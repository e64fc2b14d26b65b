// Linear layers against sums in double precision.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "core/half.h"
#include "ernie_image/error.h"
#include "op_test.h"

namespace ernie_image {
namespace {

/// A weight [N, K] as a file holds it, at an address that is a multiple of nothing.
class FileWeight {
 public:
  FileWeight(const Tensor& values, DType dtype, std::size_t misalignment)
      : bytes_(std::make_shared<std::vector<std::byte>>()) {
    const std::size_t element = size_of(dtype);
    bytes_->resize(misalignment + static_cast<std::size_t>(values.size()) * element);
    weight_ = {"weight", dtype, values.shape(), bytes_->data() + misalignment, bytes_};
    values_ = Tensor::host(DType::f32, values.shape());
    for (std::int64_t i = 0; i < values.size(); ++i)
      put(i, values.data<float>()[i], bytes_->data() + misalignment + i * element);
  }

  const Weight& weight() const { return weight_; }
  /// What the file's numbers mean.
  const Tensor& values() const { return values_; }

 private:
  void put(std::int64_t i, float value, std::byte* target) {
    float& meaning = values_.data<float>()[i];
    if (weight_.dtype == DType::f32) {
      std::memcpy(target, &value, sizeof(value));
      meaning = value;
      return;
    }
    const std::uint16_t bits =
        weight_.dtype == DType::bf16 ? float_to_bf16(value) : truncated_f16(value);
    std::memcpy(target, &bits, sizeof(bits));
    meaning = weight_.dtype == DType::bf16 ? bf16_to_float(bits) : f16_to_float(bits);
  }

  /// Some f16 near `value`, for |value| in [2^-14, 2^15); else zero.
  static std::uint16_t truncated_f16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude < (113u << 23)) return 0;
    return static_cast<std::uint16_t>((bits >> 16 & 0x8000u) | ((magnitude >> 13) - (112u << 10)));
  }

  std::shared_ptr<std::vector<std::byte>> bytes_;
  Weight weight_;
  Tensor values_;
};

Tensor expected_linear(const Tensor& x, const Tensor& weight, const float* bias) {
  const std::int64_t depth = weight.dim(1);
  const std::int64_t columns = weight.dim(0);
  const Tensor wide = to_float(x);
  Shape shape = x.shape();
  shape.back() = columns;
  Tensor y = Tensor::host(DType::f32, shape);
  for (std::int64_t m = 0; m < x.size() / depth; ++m) {
    for (std::int64_t n = 0; n < columns; ++n) {
      double sum = bias == nullptr ? 0 : bias[n];
      for (std::int64_t k = 0; k < depth; ++k) {
        sum += static_cast<double>(wide.data<float>()[m * depth + k]) *
               weight.data<float>()[n * depth + k];
      }
      y.data<float>()[m * columns + n] = static_cast<float>(sum);
    }
  }
  return round_to(y, x.dtype());
}

// Sums of K products of numbers up to 1: float rounds each partial sum, of size sqrt(K), by 2^-24
// of itself, K times in random directions. At K = 600 that is about 4e-5 at worst; blocked and
// vectorised sums are better.
constexpr Tolerance kSums = {.f32 = 4e-5f};
class Linear : public OpTest {
 protected:
  void check(std::int64_t rows, std::int64_t depth, std::int64_t columns, DType weight_dtype,
             bool with_bias, std::size_t misalignment = 0) {
    const Tensor x = random({rows, depth});
    const FileWeight file(random_f32({columns, depth}, -1, 1), weight_dtype, misalignment);
    const WeightHandle weight = ops().prepare(file.weight(), WeightUse::linear);
    const Tensor bias = random_f32({columns}, -1, 1);
    const WeightHandle bias_handle = prepare(bias);
    const Tensor y =
        ops().linear(ops().upload(x), *weight, with_bias ? bias_handle.get() : nullptr);
    SCOPED_TRACE(testing::Message() << rows << " x " << depth << " x " << columns << " "
                                    << dtype_name(weight_dtype) << " +" << misalignment);
    expect_close(y, expected_linear(x, file.values(), with_bias ? bias.data<float>() : nullptr),
                 kSums);
  }
};

TEST_P(Linear, MatchesAtEveryWeightDType) {
  for (const DType weight : {DType::f32, DType::f16, DType::bf16}) {
    check(1, 96, 80, weight, true);
    check(48, 96, 80, weight, true);
  }
}

TEST_P(Linear, MatchesForEverySmallRowCount) {
  for (std::int64_t rows = 1; rows <= 26; ++rows) check(rows, 70, 37, DType::bf16, rows % 2 == 0);
}

TEST_P(Linear, MatchesAtOddSizes) {
  for (const std::int64_t size : {1, 2, 3, 5, 7, 15, 17, 31, 33, 63, 65}) {
    check(13, size, 9, DType::bf16, false);
    check(13, size, 9, DType::f32, true);
    check(13, 9, size, DType::bf16, true);
    check(2, size, 9, DType::f16, false);
    check(2, 9, size, DType::f32, true);
  }
}

TEST_P(Linear, MatchesAcrossBlocksOfDepthRowsAndColumns) {
  check(30, 257, 300, DType::bf16, true);
  check(30, 512, 20, DType::f16, false);
  check(30, 600, 257, DType::f32, true);
  check(1, 600, 257, DType::bf16, true);
}

TEST_P(Linear, ReadsWeightsAtAnyByte) {
  for (const DType weight : {DType::f32, DType::f16, DType::bf16}) {
    for (const std::size_t misalignment : {1, 2, 3, 7}) {
      check(3, 67, 35, weight, false, misalignment);
      check(14, 67, 35, weight, true, misalignment);
    }
  }
}

TEST_P(Linear, SplitsManyRowsIntoPasses) { check(2200, 20, 16, DType::bf16, true); }

TEST_P(Linear, KeepsLeadingAxes) {
  const Tensor x = random({2, 3, 40});
  const Tensor w = random_f32({5, 40}, -1, 1);
  const WeightHandle weight = prepare(w, WeightUse::linear);
  const Tensor y = ops().linear(x, *weight);
  EXPECT_EQ(y.shape(), (Shape{2, 3, 5}));
  expect_close(y, expected_linear(x, w, nullptr), kSums);
}

TEST_P(Linear, OfNoRowsIsEmpty) {
  const WeightHandle weight = prepare(random_f32({5, 40}, -1, 1), WeightUse::linear);
  EXPECT_EQ(ops().linear(ops().empty(dtype(), {0, 40}), *weight).shape(), (Shape{0, 5}));
}

TEST_P(Linear, TogetherIsTheSameAsApart) {
  for (const std::int64_t rows : {1, 29}) {
    const Tensor x = random({rows, 130});
    const WeightHandle q = prepare(random_f32({96, 130}, -1, 1), WeightUse::linear);
    const WeightHandle k = prepare(random_f32({32, 130}, -1, 1), WeightUse::linear);
    const WeightHandle v = prepare(random_f32({17, 130}, -1, 1), WeightUse::linear);
    const std::vector<Tensor> together = ops().linear_together(x, {q.get(), k.get(), v.get()});
    ASSERT_EQ(together.size(), 3u);
    std::size_t i = 0;
    for (const WeightHandle& weight : {q, k, v})
      expect_close(together[i++], ops().linear(x, *weight), kExact);
  }
}

TEST_P(Linear, InfinitiesAndNansStayWhereTheyAre) {
  Tensor x = Tensor::host(DType::f32, {20, 33});
  x.data<float>()[7 * 33 + 5] = INFINITY;
  x.data<float>()[9 * 33 + 32] = NAN;
  const WeightHandle weight = prepare(random_f32({35, 33}, 0.5f, 1), WeightUse::linear);
  const Tensor y = to_float(ops().linear(round_to(x, dtype()), *weight));
  for (std::int64_t m = 0; m < 20; ++m) {
    for (std::int64_t n = 0; n < 35; ++n) {
      const float value = y.data<float>()[m * 35 + n];
      EXPECT_EQ(std::isinf(value), m == 7) << m << " " << n;
      EXPECT_EQ(std::isnan(value), m == 9) << m << " " << n;
    }
  }
}

TEST_P(Linear, RefusesWeightsOfOtherTypes) {
  const Tensor w = Tensor::host(DType::f8_e4m3, {4, 4});
  try {
    prepare(w, WeightUse::linear);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    const std::string message = error.what();
    EXPECT_NE(message.find("F8_E4M3"), std::string::npos) << message;
    EXPECT_NE(message.find("[4, 4]"), std::string::npos) << message;
  }
}

TEST_P(Linear, RefusesActivationsOfOtherTypes) {
  const WeightHandle weight = prepare(random_f32({4, 4}, -1, 1), WeightUse::linear);
  EXPECT_THROW(ops().linear(Tensor::host(DType::f16, {2, 4}), *weight), Error);
}

TEST_P(Linear, StopsWhenCancelled) {
  const auto token = std::make_shared<CancelToken>();
  ops().set_cancel_token(token);
  token->request();
  const WeightHandle weight = prepare(random_f32({4, 4}, -1, 1), WeightUse::linear);
  EXPECT_THROW(ops().linear(random({2, 4}), *weight), Error);
  ops().set_cancel_token(nullptr);
}

ERNIE_IMAGE_INSTANTIATE_OP_TEST(Linear);

/// At the width of the real model, on sampled elements; the fastest kernels only, for time.
TEST(LinearAtRealSize, MatchesOnSampledElements) {
  constexpr std::int64_t kRows = 288;
  constexpr std::int64_t kDepth = 4096;
  constexpr std::int64_t kColumns = 512;
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  Tensor x = Tensor::host(DType::f32, {kRows, kDepth});
  Tensor w = Tensor::host(DType::f32, {kColumns, kDepth});
  for (float& value : x.span<float>()) value = uniform(generator);
  for (float& value : w.span<float>()) value = round_to_bf16(uniform(generator));
  const Tensor half = round_to(w, DType::bf16);
  const auto ops = make_cpu_backend();
  const WeightHandle weight =
      ops->prepare({"w", DType::bf16, half.shape(), half.bytes(), nullptr}, WeightUse::linear);
  const Tensor y = ops->linear(x, *weight);
  for (int sample = 0; sample < 2000; ++sample) {
    const std::int64_t m = static_cast<std::int64_t>(generator() % kRows);
    const std::int64_t n = static_cast<std::int64_t>(generator() % kColumns);
    double sum = 0;
    for (std::int64_t k = 0; k < kDepth; ++k)
      sum += static_cast<double>(x.data<float>()[m * kDepth + k]) * w.data<float>()[n * kDepth + k];
    // Partial sums reach about 60, in blocks of 256: a few roundings of 2^-24 * 60 each.
    EXPECT_NEAR(y.data<float>()[m * kColumns + n], sum, 1e-4);
  }
}

}  // namespace
}  // namespace ernie_image
