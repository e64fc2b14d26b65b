// Convolutions against sums in double precision.
#include <gtest/gtest.h>

#include "ernie_image/error.h"
#include "op_test.h"

namespace ernie_image {
namespace {

/// One output element; x: [B, H, W, C] and weight: [O, C, k, k], both f32.
double convolve_at(const Tensor& x, const Tensor& weight, std::int64_t b, std::int64_t oy,
                   std::int64_t ox, std::int64_t output) {
  const std::int64_t kernel = weight.dim(2);
  const std::int64_t channels = x.dim(3);
  double sum = 0;
  for (std::int64_t ky = 0; ky < kernel; ++ky) {
    for (std::int64_t kx = 0; kx < kernel; ++kx) {
      const std::int64_t y = oy + ky - kernel / 2;
      const std::int64_t xx = ox + kx - kernel / 2;
      if (y < 0 || y >= x.dim(1) || xx < 0 || xx >= x.dim(2)) continue;
      const float* pixel = x.data<float>() + ((b * x.dim(1) + y) * x.dim(2) + xx) * channels;
      for (std::int64_t c = 0; c < channels; ++c) {
        const std::int64_t w = ((output * channels + c) * kernel + ky) * kernel + kx;
        sum += static_cast<double>(pixel[c]) * weight.data<float>()[w];
      }
    }
  }
  return sum;
}

Tensor expected_conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias) {
  const Tensor x = to_float(input);
  Tensor y = Tensor::host(DType::f32, {x.dim(0), x.dim(1), x.dim(2), weight.dim(0)});
  std::int64_t i = 0;
  for (std::int64_t b = 0; b < x.dim(0); ++b) {
    for (std::int64_t oy = 0; oy < x.dim(1); ++oy) {
      for (std::int64_t ox = 0; ox < x.dim(2); ++ox) {
        for (std::int64_t o = 0; o < weight.dim(0); ++o, ++i) {
          y.data<float>()[i] = static_cast<float>(convolve_at(x, weight, b, oy, ox, o) +
                                                  static_cast<double>(bias.data<float>()[o]));
        }
      }
    }
  }
  return round_to(y, input.dtype());
}

// As in gemm_test.cpp: up to 9 * 70 products of numbers up to 1 are summed in float.
constexpr Tolerance kSums = {.f32 = 4e-5f};

class Conv2d : public OpTest {
 protected:
  void check(const Shape& image, std::int64_t outputs, std::int64_t kernel,
             DType weight_dtype = DType::f32) {
    const Tensor x = random(image);
    const Tensor w = round_to(random_f32({outputs, image[3], kernel, kernel}, -1, 1), weight_dtype);
    const Tensor bias = random_f32({outputs}, -1, 1);
    const WeightHandle weight = prepare(w, WeightUse::conv2d);
    const WeightHandle bias_handle = prepare(bias);
    EXPECT_EQ(weight->shape(), w.shape());
    SCOPED_TRACE(to_string(image) + " to " + std::to_string(outputs) + ", kernel " +
                 std::to_string(kernel));
    expect_close(ops().conv2d(ops().upload(x), *weight, *bias_handle),
                 expected_conv2d(x, to_float(w), bias), kSums);
  }
};

TEST_P(Conv2d, MatchesWithKernelsOfOneAndThree) {
  check({1, 6, 7, 16}, 32, 1);
  check({1, 6, 7, 16}, 32, 3);
}

TEST_P(Conv2d, MatchesAtOddSizes) {
  check({1, 1, 1, 1}, 1, 3);
  check({1, 1, 9, 3}, 5, 3);
  check({1, 9, 1, 5}, 3, 3);
  check({1, 2, 2, 7}, 33, 3);
  check({1, 5, 11, 31}, 3, 3);
  check({1, 3, 5, 17}, 13, 1);
}

TEST_P(Conv2d, DoesNotMixTheImagesOfABatch) { check({3, 4, 5, 8}, 6, 3); }

TEST_P(Conv2d, MatchesAcrossBlocksOfDepthPixelsAndChannels) {
  check({1, 12, 13, 70}, 40, 3);  // depth 630: taps straddle blocks
  check({1, 3, 4, 8}, 300, 3);    // more than one block of output channels
  check({1, 14, 15, 2}, 4, 1);    // more than one chunk of pixels
}

TEST_P(Conv2d, ReadsBf16Weights) { check({1, 5, 6, 20}, 9, 3, DType::bf16); }

TEST_P(Conv2d, RefusesOtherKernelSizes) {
  const Tensor x = random({1, 8, 8, 4});
  const WeightHandle bias = prepare(random_f32({4}, -1, 1));
  for (const Shape& shape : {Shape{4, 4, 5, 5}, Shape{4, 4, 1, 3}, Shape{4, 4, 2, 2}}) {
    const WeightHandle weight = prepare(random_f32(shape, -1, 1), WeightUse::conv2d);
    try {
      ops().conv2d(x, *weight, *bias);
      FAIL() << to_string(shape);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::unsupported);
      EXPECT_NE(std::string(error.what()).find(to_string(shape)), std::string::npos);
    }
  }
}

ERNIE_IMAGE_INSTANTIATE_OP_TEST(Conv2d);

}  // namespace
}  // namespace ernie_image
