// Operations that were rewritten to take fewer kernels, against the plain form with strided tensors
// and mixed types: the same bits, where a device computes each number alike.
#include <cstring>

#include "ascend_rules.h"
#include "backend/ascend/ascend_backend.h"
#include "backend/ascend/operations.h"
#include "backend/card_network.h"
#include "core/ledger.h"

namespace ernie_image::ascend {
namespace {

constexpr float kEps = 1e-6f;

class AscendSameBits : public AscendRules {
 protected:
  Tensor random(DType dtype, const Shape& shape, unsigned seed) {
    return stream->upload(round_to(random_tensor(shape, 2, seed), dtype));
  }
  Tensor empty(DType dtype, const Shape& shape) { return stream->empty(dtype, shape); }
  View chunk(const Tensor& table, std::int64_t index, std::int64_t width) {
    const View view(table);
    return view.window({table.dim(0), 1, width}, {table.dim(1), width, 1}, index * width);
  }
  Tensor one_plus(const View& view) {
    const Tensor wide = empty(DType::f32, view.shape), sum = empty(DType::f32, view.shape);
    stream->call(cann().Cast, view, ACL_FLOAT, wide);
    stream->call(cann().Adds, wide, Scalar{1}, Scalar{1}, sum);
    return sum;
  }
  void expect_equal(const Tensor& actual, const Tensor& expected) {
    const Tensor a = stream->download(actual), e = stream->download(expected);
    ASSERT_EQ(a.shape(), e.shape());
    ASSERT_EQ(a.dtype(), e.dtype());
    EXPECT_EQ(std::memcmp(a.bytes(), e.bytes(), a.size_bytes()), 0);
  }

  const DType bf16 = DType::bf16, f32 = DType::f32;
};

TEST_F(AscendSameBits, Rotation) {
  const Tensor x = random(bf16, {2, 5, 3, 32}, 1);
  const auto table = [&](unsigned seed) {
    return stream->upload(to_float(round_to(random_tensor({2, 5, 32}, 1, seed), bf16)));
  };
  const RotaryTable rotary = {table(2), table(3), {}};
  const Shape over_heads = {2, 5, 1, 32};
  const View cos = View(rotary.cos).reshaped(over_heads),
             sin = View(rotary.sin).reshaped(over_heads);
  const Tensor straight = empty(bf16, x.shape()), crossed = empty(bf16, x.shape());
  const Tensor y = empty(bf16, x.shape());
  const auto half = [](const View& view, std::int64_t index) {
    return view.sliced(3, 16 * index, 16);
  };
  stream->call(cann().Mul, x, cos, straight);
  for (const std::int64_t i : {0, 1})
    stream->call(cann().Mul, half(View(x), 1 - i), half(sin, i), half(View(crossed), i));
  stream->call(cann().Sub, half(View(straight), 0), half(View(crossed), 0), Scalar{1},
               half(View(y), 0));
  stream->call(cann().Add, half(View(straight), 1), half(View(crossed), 1), Scalar{1},
               half(View(y), 1));
  expect_equal(norm_rope(*stream, x, {}, kEps, rotary), y);
}

TEST_F(AscendSameBits, NormsWithAModulation) {
  const std::int64_t width = 48;
  const Shape shape = {2, 5, width};
  const Tensor x = random(bf16, shape, 1), table = random(bf16, {2, 3 * width}, 2);
  const Tensor weight = random(bf16, {width}, 3), wide_weight = empty(f32, {width});
  stream->call(cann().Cast, weight, ACL_FLOAT, wide_weight);
  const Tensor ones = empty(f32, {width}), rstd = empty(f32, {2, 5, 1});
  const Tensor norm = empty(bf16, shape), weighted = empty(bf16, shape), y = empty(bf16, shape);
  stream->call(cann().InplaceFillScalar, ones, Scalar{1});
  stream->call(cann().RmsNorm, x, ones, double{kEps}, norm, rstd);
  stream->call(cann().Mul, norm, wide_weight, weighted);
  stream->call(cann().Addcmul, chunk(table, 0, width), weighted, one_plus(chunk(table, 2, width)),
               Scalar{1}, y);
  expect_equal(rms_norm_modulate(*stream, x, weight, kEps, {table, 2}, {table, 0}), y);
  expect_equal(rms_norm_modulate(*stream, x, wide_weight, kEps, {table, 2}, {table, 0}), y);

  const Tensor factor = empty(bf16, {2, 1, width}), scaled = empty(bf16, shape);
  stream->call(cann().LayerNorm, x, Integers{{width}}, nullptr, nullptr, double{kEps}, norm,
               nullptr, nullptr);
  stream->call(cann().Cast, one_plus(chunk(table, 1, width)), ACL_BF16, factor);
  stream->call(cann().Mul, norm, factor, scaled);
  stream->call(cann().Add, scaled, chunk(table, 2, width), Scalar{1}, y);
  expect_equal(layer_norm_modulate(*stream, x, kEps, {table, 1}, {table, 2}), y);
}

TEST_F(AscendSameBits, GatedAdd) {
  const std::int64_t width = 48;
  const Shape shape = {2, 5, width};
  const Tensor x = random(bf16, shape, 1), y = random(bf16, shape, 2);
  const Tensor table = random(bf16, {2, 2 * width}, 3);
  const Tensor gated = empty(bf16, shape), sum = empty(bf16, shape);
  stream->call(cann().Mul, y, chunk(table, 1, width), gated);
  stream->call(cann().Add, x, gated, Scalar{1}, sum);
  expect_equal(gated_add(*stream, x, {table, 1}, y), sum);
}

/// What was made of one modulation must not be used for the next one.
TEST_F(AscendSameBits, EachModulationIsItsOwn) {
  const Tensor x = random(bf16, {1, 2, 32}, 1), weight = random(bf16, {32}, 2);
  for (unsigned seed = 3; seed < 40; ++seed) {
    const Tensor table = random(bf16, {1, 64}, seed);
    const Tensor other = stream->upload(stream->download(table));
    const Tensor first = rms_norm_modulate(*stream, x, weight, kEps, {table, 0}, {table, 1});
    stream->derived().clear();
    expect_equal(rms_norm_modulate(*stream, x, weight, kEps, {other, 0}, {other, 1}), first);
  }
}

TEST_F(AscendSameBits, ConvolutionsWithABiasInFloat) {
  const Tensor x = random(bf16, {1, 5, 6, 4}, 1), weight = random(bf16, {7, 4, 3, 3}, 2);
  const Tensor bias = random(bf16, {7}, 3);
  const Tensor planes = channels_first(*stream, x), y = empty(bf16, {1, 7, 5, 6});
  stream->call(cann().Convolution, planes, weight, bias, Integers{{1, 1}}, Integers{{1, 1}},
               Integers{{1, 1}}, false, Integers{{0, 0}}, std::int64_t{1}, y, kKeepDType);
  expect_equal(conv2d(*stream, x, weight, bias), channels_last(*stream, y));
}

/// In HF32 factors of fp32 lose all but 11 bits; bf16 has fewer, and loses none.
TEST_F(AscendSameBits, ConvolutionsInHf32RoundTheirFactors) {
  const auto convolved = [&](DType dtype, float value, std::int8_t math) {
    const auto constant = [&](const Shape& shape, float number) {
      Tensor host = Tensor::host(DType::f32, shape);
      for (float& element : host.span<float>()) element = number;
      return stream->upload(dtype == bf16 ? round_to(host, dtype) : host);
    };
    const Tensor y = conv2d(*stream, constant({1, 1, 1, 1}, value), constant({1, 1, 1, 1}, 1),
                            constant({1}, 0), 1, math);
    return to_float(stream->download(y)).data<float>()[0];
  };
  const float value = 1.0f + 0x1p-10f + 0x1p-13f;
  EXPECT_EQ(convolved(f32, value, kKeepDType), value);
  EXPECT_EQ(convolved(f32, value, kHf32), 1.0f + 0x1p-10f);
  EXPECT_EQ(convolved(bf16, 1.0078125f, kHf32), 1.0078125f);
  const auto ops = make_backend({.device = "ascend", .device_options = {{"ascend_conv", "hf32"}}});
  const Tensor one = Tensor::copy_of<float>(f32, {1, 1, 1, 1}, std::array{1.0f});
  const WeightHandle weight = ops->prepare(weight_of("w", one), WeightUse::conv2d);
  const WeightHandle bias = ops->prepare(weight_of("b", Tensor::host(f32, {1})), WeightUse::vector);
  const Tensor x = Tensor::copy_of<float>(f32, {1, 1, 1, 1}, std::array{value});
  const Tensor y = ops->download(ops->conv2d(ops->upload(x), *weight, *bias));
  EXPECT_EQ(y.data<float>()[0], 1.0f + 0x1p-10f);
}

/// A convolution asks for room for its input and its result once more, here 36 MiB.
TEST_F(AscendSameBits, ARehearsalHasTheWorkspaceOfConvolutions) {
  const auto peak = [](Backend& ops) {
    const auto prepare = [&](const Shape& shape, WeightUse use) {
      return ops.prepare(weight_of("w", round_to(random_tensor(shape, 1, 1), DType::bf16)), use);
    };
    const WeightHandle weight = prepare({8, 128, 1, 1}, WeightUse::conv2d);
    const WeightHandle bias = prepare({8}, WeightUse::vector);
    ops.conv2d(ops.upload(Tensor::host(DType::bf16, {1, 256, 256, 128})), *weight, *bias);
    return ops.device_memory()->peak_bytes;
  };
  const auto ops = make_backend({.device = "ascend"});
  Ledger ledger;
  std::uint64_t planned = 0;
  {
    const HostRehearsal scope(ledger);
    planned = peak(*ops->rehearsal(ledger, std::uint64_t{1} << 40, "none"));
  }
  EXPECT_EQ(planned, peak(*ops));
}

/// Sizes that fill no block, and one that fills all; more rows than go up in one piece do not
/// matter.
TEST_F(AscendSameBits, Int8WeightsInBlocks) {
  stream.reset();
  const auto product = [](const std::string& layout, const Shape& shape) {
    const auto ops = make_ascend_backend({.int8 = layout});
    const Tensor values = random_tensor(shape, 1, 5);
    const Weight weight = {"w", DType::f32, shape, values.bytes(), nullptr};
    const WeightHandle handle = ops->prepare(weight, WeightUse::linear, Quantization::int8);
    return ops->download(ops->linear(ops->upload(random_tensor({3, shape[1]}, 1, 6)), *handle));
  };
  for (const Shape& shape : {Shape{40, 72}, Shape{1, 5}, Shape{64, 96}}) {
    const Tensor rows = product("nd", shape), blocks = product("nz", shape);
    EXPECT_EQ(std::memcmp(rows.bytes(), blocks.bytes(), rows.size_bytes()), 0)
        << ernie_image::to_string(shape);
    EXPECT_NE(rows.data<float>()[0], 0.0f);
  }
}

}  // namespace
}  // namespace ernie_image::ascend
