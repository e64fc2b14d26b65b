// Rules of operators: types, shapes, formats.
#include "ascend_rules.h"

namespace ernie_image::ascend {
namespace {

constexpr std::int8_t kKeep = 0;

class AscendOperatorRules : public AscendRules {
 protected:
  Tensor empty(DType dtype, const Shape& shape) { return stream->empty(dtype, shape); }
};

TEST_F(AscendOperatorRules, ProductsTakeOneType) {
  const Tensor x = filled(DType::bf16, {4, 8}), w = filled(DType::bf16, {8, 6});
  const Tensor wide = filled(DType::f32, {8, 6});
  const Tensor y = empty(DType::bf16, {4, 6});
  const std::int8_t fp16 = 2;
  EXPECT_TRUE(refuses("one dtype", cann().Mm, x, wide, y, kKeep));
  EXPECT_TRUE(refuses("dtype of self", cann().Mm, x, w, empty(DType::f32, {4, 6}), kKeep));
  EXPECT_TRUE(refuses("cubeMathType 2", cann().Mm, x, w, y, fp16));
  EXPECT_TRUE(refuses("do not make", cann().Mm, x, w, empty(DType::bf16, {4, 5}), kKeep));
  EXPECT_TRUE(refuses("rank 3", cann().BatchMatMul, x, w, y, kKeep));
}

TEST_F(AscendOperatorRules, RowsAreRoundedFromHalfTypesToInt8WithFloatScales) {
  const Tensor x = filled(DType::bf16, {4, 8}), wide = filled(DType::f32, {4, 8});
  const Tensor codes = empty(DType::i8, {4, 8}), scales = empty(DType::f32, {4});
  const View none;
  EXPECT_NO_THROW(stream->call(cann().DynamicQuant, x, none, codes, scales));
  EXPECT_TRUE(refuses("x must be", cann().DynamicQuant, wide, none, codes, scales));
  EXPECT_TRUE(refuses("yOut", cann().DynamicQuant, x, none, empty(DType::bf16, {4, 8}), scales));
  EXPECT_TRUE(refuses("scaleOut", cann().DynamicQuant, x, none, codes, empty(DType::f32, {4, 1})));
  EXPECT_TRUE(refuses("two axes", cann().DynamicQuant, filled(DType::bf16, {8}), none,
                      empty(DType::i8, {8}), empty(DType::f32, {1})));
}

TEST_F(AscendOperatorRules, IntegerProductsTakeScalesOfRowsAndColumns) {
  const Tensor x = empty(DType::i8, {4, 8}), w = empty(DType::i8, {6, 8});
  const Tensor rows = filled(DType::f32, {4}), columns = filled(DType::f32, {6});
  const Tensor y = empty(DType::bf16, {4, 6});
  const View none;
  const bool plain = false, transposed = true;
  const auto multiply = [&](const View& a, const View& b, const View& of_rows,
                            const View& of_columns, bool transpose_b, const Tensor& out) {
    stream->call(cann().QuantMatmulV4, a, b, of_columns, none, of_rows, none, plain, transpose_b,
                 out);
  };
  stream->call(cann().DynamicQuant, filled(DType::bf16, {4, 8}), none, x, empty(DType::f32, {4}));
  stream->call(cann().DynamicQuant, filled(DType::bf16, {6, 8}), none, w, empty(DType::f32, {6}));
  EXPECT_NO_THROW(multiply(x, w, rows, columns, transposed, y));
  EXPECT_NO_THROW(multiply(x, View(w).with_axes_swapped(0, 1), rows, columns, plain, y));
  EXPECT_TRUE(refused("do not make", [&] { multiply(x, w, rows, columns, plain, y); }));
  EXPECT_TRUE(refused("must be INT8", [&] {
    multiply(filled(DType::bf16, {4, 8}), w, rows, columns, transposed, y);
  }));
  EXPECT_TRUE(refused("out must be BF16", [&] {
    multiply(x, w, rows, columns, transposed, empty(DType::f32, {4, 6}));
  }));
  EXPECT_TRUE(refused("one a column", [&] { multiply(x, w, rows, rows, transposed, y); }));
  EXPECT_TRUE(
      refused("one element a row", [&] { multiply(x, w, columns, columns, transposed, y); }));
  EXPECT_TRUE(refused("pertokenScale must be FLOAT",
                      [&] { multiply(x, w, filled(DType::bf16, {4}), columns, transposed, y); }));
  EXPECT_TRUE(refused("format", [&] {
    multiply(x, View(w).as(static_cast<aclFormat>(29)), rows, columns, transposed, y);
  }));
  const Tensor long_x = empty(DType::i8, {4, 65536}), long_w = empty(DType::i8, {6, 65536});
  EXPECT_TRUE(refused("65535", [&] { multiply(long_x, long_w, rows, columns, transposed, y); }));
  EXPECT_TRUE(refused("empty", [&] {
    multiply(empty(DType::i8, {0, 8}), w, empty(DType::f32, {0}), columns, transposed,
             empty(DType::bf16, {0, 6}));
  }));
  EXPECT_TRUE(refuses("groupSize", cann().QuantMatmulV5, x, w, rows, columns, none, none, none,
                      none, none, plain, transposed, std::int64_t{128}, y));
}

/// Known by their number: 6 x 8 in one block of 16 x 32.
TEST_F(AscendOperatorRules, IntegerProductsTakeWeightsInBlocksOfTheRightNumber) {
  const Tensor x = empty(DType::i8, {4, 8}), memory = empty(DType::i8, {16, 32});
  const Tensor rows = filled(DType::f32, {4}), columns = filled(DType::f32, {6});
  const Tensor y = empty(DType::bf16, {4, 6});
  const View none;
  const auto multiply = [&](std::int64_t storage, bool transposed) {
    View w = Tensor(DType::i8, {6, 8}, memory.bytes(), nullptr);
    w.storage = storage;
    stream->call(cann().QuantMatmulWeightNz, x, w, rows, columns, none, none, none, none, none,
                 false, transposed, std::int64_t{0}, y);
  };
  stream->call(cann().DynamicQuant, filled(DType::bf16, {4, 8}), none, x, empty(DType::f32, {4}));
  stream->call(cann().DynamicQuant, filled(DType::bf16, {16, 32}), none, memory,
               empty(DType::f32, {16}));
  EXPECT_NO_THROW(multiply(512, true));
  EXPECT_TRUE(refused("512 elements", [&] { multiply(48, true); }));
  EXPECT_TRUE(refused("transposeX2", [&] { multiply(512, false); }));
}

TEST_F(AscendOperatorRules, RmsNormTakesFiveCombinationsOfTypes) {
  const Tensor x = filled(DType::bf16, {4, 8}), wide = filled(DType::f32, {4, 8});
  const Tensor gamma = filled(DType::f32, {8}), narrow_gamma = filled(DType::bf16, {8});
  const Tensor y = empty(DType::bf16, {4, 8}), wide_y = empty(DType::f32, {4, 8});
  const Tensor rstd = empty(DType::f32, {4, 1});
  const auto norm = [&](const Tensor& in, const Tensor& weight, const Tensor& out,
                        const Tensor& statistics) {
    stream->call(cann().RmsNorm, in, weight, 1e-6, out, statistics);
  };
  EXPECT_NO_THROW(norm(x, gamma, y, rstd));
  EXPECT_NO_THROW(norm(x, narrow_gamma, y, rstd));
  EXPECT_NO_THROW(norm(wide, gamma, wide_y, rstd));
  EXPECT_TRUE(refused("gamma", [&] { norm(wide, narrow_gamma, wide_y, rstd); }));
  EXPECT_TRUE(refused("yOut", [&] { norm(x, gamma, wide_y, rstd); }));
  EXPECT_TRUE(refused("rstdOut", [&] { norm(x, gamma, y, empty(DType::bf16, {4, 1})); }));
  EXPECT_TRUE(refused("rstdOut", [&] { norm(x, gamma, y, empty(DType::f32, {4})); }));
}

TEST_F(AscendOperatorRules, GroupNormTakesParametersOfItsTypeAndEightAxes) {
  const Tensor x = filled(DType::bf16, {1, 4, 6}), gamma = filled(DType::f32, {4});
  const Tensor y = empty(DType::bf16, {1, 4, 6}), mean = empty(DType::bf16, {1, 2});
  const Tensor rstd = empty(DType::bf16, {1, 2});
  const std::int64_t one = 1, channels = 4, pixels = 6, groups = 2, three = 3;
  EXPECT_TRUE(refuses("gamma and beta must have the dtype", cann().GroupNorm, x, gamma, gamma, one,
                      channels, pixels, groups, 1e-6, y, mean, rstd));
  EXPECT_TRUE(refuses("do not divide", cann().GroupNormSiluV2, x, gamma, gamma, three, 1e-6, false,
                      y, mean, rstd));
  EXPECT_TRUE(
      refuses("eps", cann().GroupNormSiluV2, x, gamma, gamma, groups, 0.0, false, y, mean, rstd));
  EXPECT_TRUE(refuses("dtype of self", cann().GroupNormSiluV2, x, gamma, gamma, groups, 1e-6, false,
                      y, empty(DType::f32, {1, 2}), rstd));
}

TEST_F(AscendOperatorRules, GroupNormSiluWritesDenseResultsOnly) {
  const Tensor x = filled(DType::bf16, {1, 4, 6}), gamma = filled(DType::f32, {4});
  const Tensor y = empty(DType::bf16, {1, 6, 4}), mean = empty(DType::bf16, {1, 2});
  const std::int64_t groups = 2;
  EXPECT_TRUE(refuses("outputs must be dense", cann().GroupNormSiluV2, x, gamma, gamma, groups,
                      1e-6, false, View(y).with_axes_swapped(1, 2), mean,
                      empty(DType::bf16, {1, 2})));
}

TEST_F(AscendOperatorRules, ConvolutionsNeedTheirFormatAndOneType) {
  const Tensor x = filled(DType::bf16, {1, 3, 4, 4}), w = filled(DType::bf16, {2, 3, 1, 1});
  const Tensor y = empty(DType::bf16, {1, 2, 4, 4});
  const auto conv = [&](const View& input, const Tensor& bias) {
    stream->call(cann().Convolution, input, w, bias, Integers{{1, 1}}, Integers{{0, 0}},
                 Integers{{1, 1}}, false, Integers{{0, 0}}, std::int64_t{1}, y, kKeep);
  };
  EXPECT_TRUE(
      refused("format", [&] { conv(View(x).as(ACL_FORMAT_ND), filled(DType::bf16, {2})); }));
  EXPECT_TRUE(refused("the bias", [&] { conv(x, bools({2})); }));
  EXPECT_NO_THROW(conv(x, filled(DType::f32, {2})));
}

/// That of their rank, as torch_npu names them, or ND; never FRACTAL_NZ, as no tensor here went
/// through TransMatmulWeight.
TEST_F(AscendOperatorRules, OtherOperationsTakePlainFormatsOnly) {
  const Tensor x = filled(DType::f32, {1, 2, 2, 2}), y = empty(DType::f32, {1, 2, 2, 2});
  EXPECT_NO_THROW(stream->call(cann().Silu, x, y));
  EXPECT_NO_THROW(stream->call(cann().Silu, View(x).as(ACL_FORMAT_ND), y));
  const auto nhwc = static_cast<aclFormat>(1), fractal_nz = static_cast<aclFormat>(29);
  for (const aclFormat format : {nhwc, fractal_nz, ACL_FORMAT_NCL, ACL_FORMAT_NCDHW})
    EXPECT_TRUE(refuses("format", cann().Silu, View(x).as(format), y)) << format;
  EXPECT_TRUE(refuses("format", cann().UpsampleNearest2d, View(x).as(ACL_FORMAT_ND),
                      Integers{{4, 4}}, empty(DType::f32, {1, 2, 4, 4})));
}

/// Else a slice is not seen to be one, and is copied element by element.
TEST_F(AscendOperatorRules, TheStorageIsThatOfTheWholeTensor) {
  const Tensor x = filled(DType::f32, {4, 8}), y = empty(DType::f32, {4, 3});
  View slice = View(x).sliced(1, 2, 3);
  EXPECT_EQ(slice.storage, 32);
  EXPECT_NO_THROW(stream->call(cann().InplaceCopy, y, slice));
  slice.storage = 29;  // the last element of the slice
  EXPECT_TRUE(refuses("whole tensor", cann().InplaceCopy, y, slice));
  slice.storage = 28;
  EXPECT_TRUE(refuses("past its storage", cann().InplaceCopy, y, slice));
}

TEST_F(AscendOperatorRules, UpsamplingHasALargestSide) {
  const std::int64_t width = (1 << 19) + 1;
  const Tensor x = filled(DType::bf16, {1, 1, 1, width});
  const Tensor y = empty(DType::bf16, {1, 1, 2, 2 * width});
  EXPECT_TRUE(refuses("2^20", cann().UpsampleNearest2d, x, Integers{{2, 2 * width}}, y));
}

TEST_F(AscendOperatorRules, ElementwiseOperationsTakeFloatsThatFit) {
  const Tensor x = filled(DType::f32, {2, 4}), narrow = empty(DType::bf16, {2, 4});
  EXPECT_TRUE(
      refuses("float type", cann().Add, bools({2, 4}), x, Scalar{1}, empty(DType::f32, {2, 4})));
  EXPECT_TRUE(refuses("dtypes differ", cann().Silu, x, narrow));
  EXPECT_TRUE(refuses("dtypes differ", cann().GeluV2, x, std::int64_t{0}, narrow));
  EXPECT_TRUE(refuses("approximate", cann().GeluV2, x, std::int64_t{2}, empty(DType::f32, {2, 4})));
  EXPECT_TRUE(refuses("dtype asked for", cann().Cast, x, ACL_FLOAT, narrow));
  EXPECT_TRUE(
      refuses("broadcast", cann().Mul, x, filled(DType::f32, {3}), empty(DType::f32, {2, 4})));
  EXPECT_TRUE(
      refuses("BOOL", cann().InplaceMaskedFillScalar, empty(DType::f32, {2, 4}), x, Scalar{0}));
}

TEST_F(AscendOperatorRules, TensorsHaveEightAxesAtMost) {
  const Tensor x = filled(DType::f32, {1, 1, 1, 1, 1, 1, 1, 1, 4});
  EXPECT_TRUE(refuses("8 axes", cann().Silu, x, empty(DType::f32, x.shape())));
}

}  // namespace
}  // namespace ernie_image::ascend
