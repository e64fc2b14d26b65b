#include <array>
#include <string>

#include "ernie_image/error.h"
#include "verify/conformance.h"
#include "verify/oracle.h"

namespace ernie_image::verify {
namespace {

// Sums of up to 9 * 70 products of numbers up to 1, in float: see linear_cases.cpp.
constexpr Tolerance kSums = {.f32 = 4e-5f};
// 9 * 512 products: the partial sums grow to some 40, and there are eight times as many.
constexpr Tolerance kLongSums = {.f32 = 1.5e-4f};

void check(Verifier& v, const Shape& image, std::int64_t outputs, std::int64_t kernel,
           DType weight_dtype = DType::f32, const Tolerance& tolerance = kSums) {
  const Tensor x = v.random(image);
  const Tensor w = round_to(v.random_f32({outputs, image[3], kernel, kernel}, -1, 1), weight_dtype);
  const Tensor bias = v.random_f32({outputs}, -1, 1);
  const WeightHandle weight = v.prepare(w, WeightUse::conv2d);
  v.expect(weight->shape() == w.shape(), "the handle has another shape than the weight");
  v.expect_close(v.ops().conv2d(v.up(x), *weight, *v.prepare(bias)), oracle::conv2d(x, w, bias),
                 tolerance);
}

void matches_with_kernels_of_one_and_three(Verifier& v) {
  check(v, {1, 6, 7, 16}, 32, 1);
  check(v, {1, 6, 7, 16}, 32, 3);
}

void matches_at_odd_sizes(Verifier& v) {
  check(v, {1, 1, 1, 1}, 1, 3);
  check(v, {1, 1, 9, 3}, 5, 3);
  check(v, {1, 9, 1, 5}, 3, 3);
  check(v, {1, 2, 2, 7}, 33, 3);
  check(v, {1, 5, 11, 31}, 3, 3);
  check(v, {1, 3, 5, 17}, 13, 1);
}

void does_not_mix_the_images_of_a_batch(Verifier& v) { check(v, {3, 4, 5, 8}, 6, 3); }

void matches_across_blocks_of_depth_pixels_and_channels(Verifier& v) {
  check(v, {1, 12, 13, 70}, 40, 3);  // depth 630: taps straddle blocks
  check(v, {1, 3, 4, 8}, 300, 3);    // more than one block of output channels
  check(v, {1, 14, 15, 2}, 4, 1);    // more than one chunk of pixels
}

void matches_at_pictures_of_partial_tiles(Verifier& v) {
  for (const std::int64_t side : {3, 4, 5, 7, 8}) check(v, {1, side, 9 - side, 6}, 5, 3);
  check(v, {1, 70, 3, 4}, 3, 3);   // more than one chunk of tiles, high
  check(v, {1, 3, 130, 4}, 3, 3);  // and wide
}

void matches_at_the_widths_of_the_model(Verifier& v) {
  check(v, {1, 4, 3, 512}, 256, 3, DType::bf16, kLongSums);
  check(v, {1, 7, 6, 128}, 3, 3, DType::bf16, kLongSums);
}

void reads_bf16_weights(Verifier& v) { check(v, {1, 5, 6, 20}, 9, 3, DType::bf16); }

/// `convolve` with a kernel of this shape.
template <class Convolve>
void expect_refused(Verifier& v, const Shape& shape, Convolve convolve) {
  try {
    convolve();
    v.expect(false, "a kernel " + to_string(shape) + " was accepted");
  } catch (const Error& error) {
    v.expect(error.kind() == ErrorKind::unsupported &&
                 std::string(error.what()).find(to_string(shape)) != std::string::npos,
             std::string("the refusal does not name the shape: ") + error.what());
  }
}

void refuses_other_kernel_sizes(Verifier& v) {
  const Tensor x = v.up(v.random({1, 8, 8, 4}));
  const WeightHandle bias = v.prepare(v.random_f32({4}, -1, 1));
  for (const Shape& shape : {Shape{4, 4, 5, 5}, Shape{4, 4, 1, 3}, Shape{4, 4, 2, 2}}) {
    const WeightHandle weight = v.prepare(v.random_f32(shape, -1, 1), WeightUse::conv2d);
    expect_refused(v, shape, [&] { v.ops().conv2d(x, *weight, *bias); });
  }
}

void check_stride2(Verifier& v, const Shape& image, std::int64_t outputs,
                   DType weight_dtype = DType::f32, const Tolerance& tolerance = kSums) {
  const Tensor x = v.random(image);
  const Tensor w = round_to(v.random_f32({outputs, image[3], 3, 3}, -1, 1), weight_dtype);
  const Tensor bias = v.random_f32({outputs}, -1, 1);
  const Tensor device = v.up(x);
  v.expect_close(
      v.ops().conv2d_stride2({device}, *v.prepare(w, WeightUse::conv2d), *v.prepare(bias)),
      oracle::conv2d_stride2(x, w, bias), tolerance);
}

void stride2_matches_at_even_and_odd_sizes(Verifier& v) {
  check_stride2(v, {1, 6, 8, 16}, 32);
  check_stride2(v, {1, 2, 2, 1}, 1);
  check_stride2(v, {1, 3, 2, 5}, 3);
  check_stride2(v, {1, 2, 9, 3}, 7);
  check_stride2(v, {1, 7, 5, 31}, 33);
  check_stride2(v, {1, 16, 3, 17}, 13);
}

void stride2_does_not_mix_the_images_of_a_batch(Verifier& v) {
  check_stride2(v, {3, 4, 6, 8}, 6);
  check_stride2(v, {2, 5, 7, 8}, 6);
}

void stride2_matches_across_blocks_of_depth_pixels_and_channels(Verifier& v) {
  check_stride2(v, {1, 24, 26, 70}, 40);  // depth 630: taps straddle blocks
  check_stride2(v, {1, 6, 8, 8}, 300);    // more than one block of output channels
  check_stride2(v, {1, 62, 60, 2}, 4);    // more than one chunk of pixels
}

void stride2_matches_at_the_widths_of_the_model(Verifier& v) {
  check_stride2(v, {1, 4, 6, 512}, 512, DType::bf16, kLongSums);
  check_stride2(v, {1, 8, 6, 128}, 128, DType::bf16, kLongSums);
}

void stride2_refuses_other_kernel_sizes(Verifier& v) {
  const Tensor x = v.up(v.random({1, 8, 8, 4}));
  const WeightHandle bias = v.prepare(v.random_f32({4}, -1, 1));
  for (const Shape& shape : {Shape{4, 4, 1, 1}, Shape{4, 4, 3, 1}, Shape{4, 4, 5, 5}}) {
    const WeightHandle weight = v.prepare(v.random_f32(shape, -1, 1), WeightUse::conv2d);
    expect_refused(v, shape, [&] { v.ops().conv2d_stride2({x}, *weight, *bias); });
  }
}

constexpr std::array kCases = {
    ConformanceCase{"conv2d", "MatchesWithKernelsOfOneAndThree",
                    matches_with_kernels_of_one_and_three},
    ConformanceCase{"conv2d", "MatchesAtOddSizes", matches_at_odd_sizes},
    ConformanceCase{"conv2d", "DoesNotMixTheImagesOfABatch", does_not_mix_the_images_of_a_batch},
    ConformanceCase{"conv2d", "MatchesAcrossBlocksOfDepthPixelsAndChannels",
                    matches_across_blocks_of_depth_pixels_and_channels},
    ConformanceCase{"conv2d", "MatchesAtPicturesOfPartialTiles",
                    matches_at_pictures_of_partial_tiles},
    ConformanceCase{"conv2d", "MatchesAtTheWidthsOfTheModel", matches_at_the_widths_of_the_model},
    ConformanceCase{"conv2d", "ReadsBf16Weights", reads_bf16_weights},
    ConformanceCase{"conv2d", "RefusesOtherKernelSizes", refuses_other_kernel_sizes},
    ConformanceCase{"conv2d_stride2", "MatchesAtEvenAndOddSizes",
                    stride2_matches_at_even_and_odd_sizes},
    ConformanceCase{"conv2d_stride2", "DoesNotMixTheImagesOfABatch",
                    stride2_does_not_mix_the_images_of_a_batch},
    ConformanceCase{"conv2d_stride2", "MatchesAcrossBlocksOfDepthPixelsAndChannels",
                    stride2_matches_across_blocks_of_depth_pixels_and_channels},
    ConformanceCase{"conv2d_stride2", "MatchesAtTheWidthsOfTheModel",
                    stride2_matches_at_the_widths_of_the_model},
    ConformanceCase{"conv2d_stride2", "RefusesOtherKernelSizes",
                    stride2_refuses_other_kernel_sizes},
};

}  // namespace

std::span<const ConformanceCase> convolution_cases() { return kCases; }

}  // namespace ernie_image::verify
