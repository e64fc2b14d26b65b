// Products with the blocks of GGUF's types where they lie, against sums in double over decoded
// weights.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/kernels.h"
#include "core/half.h"
#include "ernie_image/error.h"
#include "io/gguf_encode.h"
#include "io/weight_decoders.h"
#include "verify/oracle.h"

namespace ernie_image {
namespace {

/// -1 to 1, without pattern.
Tensor noise(Shape shape, std::uint32_t seed) {
  Tensor values = Tensor::host(DType::f32, std::move(shape));
  std::uint32_t state = seed;
  for (float& value : values.span<float>()) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) * 0x1p-23f - 1.0f;
  }
  return values;
}

/// Mean squared error over mean square.
double relative_error(const Tensor& actual, const Tensor& expected) {
  double error = 0, square = 0;
  for (std::int64_t i = 0; i < expected.size(); ++i) {
    const double difference = actual.data<float>()[i] - expected.data<float>()[i];
    error += difference * difference;
    square += expected.data<float>()[i] * static_cast<double>(expected.data<float>()[i]);
  }
  return error / square;
}

/// A matrix [N, K] in a type of GGUF. Its bytes end where the memory does, for sanitizers to see
/// who reads further.
class Blocks {
 public:
  Blocks(const char* type, Shape shape) : type_(*gguf_type(std::string_view(type))) {
    const Tensor values = noise(shape, 7);
    bytes_ = std::make_shared<std::vector<std::byte>>(
        static_cast<std::size_t>(values.size() / type_.weights * type_.bytes));
    encode_gguf(type_, values.data<float>(), values.size(), bytes_->data());
    weight_ = {"blocks", DType::bf16, std::move(shape), bytes_->data(), bytes_};
    weight_.format = WeightFormat::encoded;
    weight_.packed_bytes = bytes_->size();
    weight_.decoder = make_gguf_decoder(type_, bytes_->data(), values.size());
  }

  Weight& weight() { return weight_; }
  Tensor values() const { return widened(weight_); }

 private:
  const GgufType& type_;
  std::shared_ptr<std::vector<std::byte>> bytes_;
  Weight weight_;
};

/// Those that have products of their own with blocks.
std::vector<std::string> kernels_with_blocks() {
  std::vector<std::string> names;
  for (const KernelTable* table : usable_kernels()) {
    if (table->encoded.decode != nullptr) names.emplace_back(table->name);
  }
  return names;
}

class EncodedLinear : public testing::TestWithParam<std::tuple<std::string, const char*>> {
 protected:
  std::string kernels() const { return std::get<0>(GetParam()); }
  const char* type() const { return std::get<1>(GetParam()); }

  std::unique_ptr<Backend> backend(BlockActivations activations, int threads = 3) const {
    return make_cpu_backend({.num_threads = threads,
                             .kernels = kernels(),
                             .gelu = GeluForm::exact,
                             .block_activations = activations});
  }
  static Tensor product(Backend& ops, const Tensor& x, const Weight& weight,
                        const Tensor& bias = {}) {
    const WeightHandle prepared = ops.prepare(weight, WeightUse::linear);
    if (bias.empty()) return ops.linear(x, *prepared);
    const Weight plain{"bias", DType::f32, bias.shape(), bias.bytes(),
                       std::make_shared<Tensor>(bias)};
    return ops.linear(x, *prepared, ops.prepare(plain, WeightUse::vector).get());
  }
  Tensor int8(const Tensor& x, const Weight& weight) const {
    return product(*backend(BlockActivations::int8), x, weight);
  }
};

// Activations that are uniform within -1 to 1 are rounded to steps of 1/127: a mean square error of
// 1/127^2/12 in 1/3, 1.6e-5. The same with 16 bits, steps of 1/32512: 2.4e-10.
constexpr double kRounding8 = 2.2e-5;
constexpr double kRounding16 = 6e-10;

TEST_P(EncodedLinear, IsAsNearAsTheRoundingOfActivations) {
  // Across ranges of depth, chunks and panels of outputs, and passes of rows.
  for (const auto& [rows, depth, outputs] :
       {std::array<std::int64_t, 3>{9, 256, 32}, {13, 768, 37}, {30, 512, 161}, {560, 256, 5}}) {
    Blocks blocks(type(), {outputs, depth});
    const Tensor x = noise({rows, depth}, 3), bias = noise({outputs}, 5);
    const auto ops = backend(BlockActivations::int8);
    EXPECT_LE(relative_error(product(*ops, x, blocks.weight(), bias),
                             oracle::linear(x, blocks.values(), bias)),
              kRounding8)
        << rows << " rows, " << depth << " deep";
  }
}

TEST_P(EncodedLinear, IsNearlyExactForFewRows) {
  for (std::int64_t rows = 1; rows <= 8; ++rows) {
    for (const std::int64_t depth : {256, 768, 1280}) {
      Blocks blocks(type(), {69, depth});
      const Tensor x = noise({rows, depth}, 3), bias = noise({69}, 5);
      const auto ops = backend(BlockActivations::automatic);
      EXPECT_LE(relative_error(product(*ops, x, blocks.weight(), bias),
                               oracle::linear(x, blocks.values(), bias)),
                kRounding16)
          << rows << " rows, " << depth << " deep";
    }
  }
}

TEST_P(EncodedLinear, TakesDepthsOfAnyNumberOfSmallBlocks) {
  if (gguf_type(std::string_view(type()))->weights != 32) GTEST_SKIP();
  for (const std::int64_t depth : {32, 96, 544, 1056}) {
    for (const auto& [rows, limit] : {std::pair{1, kRounding16}, {10, 1.5 * kRounding8}}) {
      Blocks blocks(type(), {35, depth});
      const Tensor x = noise({rows, depth}, 3);
      EXPECT_LE(relative_error(int8(x, blocks.weight()), oracle::linear(x, blocks.values())), limit)
          << rows << " rows, " << depth << " deep";
    }
  }
}

TEST_P(EncodedLinear, DecodesWhereActivationsAreExact) {
  Blocks blocks(type(), {37, 512});
  const Tensor values = blocks.values();
  const Weight plain{"plain", DType::f32, values.shape(), values.bytes(), nullptr};
  const Tensor x = noise({12, 512}, 3);
  for (const BlockActivations way : {BlockActivations::exact, BlockActivations::automatic}) {
    const auto ops = backend(way);
    const Tensor actual = product(*ops, x, blocks.weight()), expected = product(*ops, x, plain);
    EXPECT_EQ(std::memcmp(actual.bytes(), expected.bytes(), expected.size_bytes()), 0);
  }
}

TEST_P(EncodedLinear, RoundsActivationsInBf16ByItself) {
  Blocks blocks(type(), {37, 512});
  const Tensor x = round_to(noise({12, 512}, 3), DType::bf16);
  const Tensor automatic = product(*backend(BlockActivations::automatic), x, blocks.weight());
  const Tensor rounded = int8(x, blocks.weight());
  EXPECT_EQ(automatic.dtype(), DType::bf16);
  EXPECT_EQ(std::memcmp(automatic.bytes(), rounded.bytes(), rounded.size_bytes()), 0);
}

TEST_P(EncodedLinear, DoesNotDependOnTheNumberOfRowsOrThreads) {
  Blocks blocks(type(), {140, 768});
  const Tensor x = noise({100, 768}, 3);
  const Tensor all = int8(x, blocks.weight());
  const Tensor alone =
      product(*backend(BlockActivations::int8, 1), x.slice(40, 11), blocks.weight());
  EXPECT_EQ(std::memcmp(alone.bytes(), all.slice(40, 11).bytes(), alone.size_bytes()), 0);
}

TEST_P(EncodedLinear, ReadsRowsInTheOrderOfTheirHeads) {
  Blocks blocks(type(), {64, 256});
  blocks.weight().decoder = make_head_order_decoder(blocks.weight().decoder, 16, 256);
  for (const auto& [rows, limit] : {std::pair{1, kRounding16}, {10, kRounding8}}) {
    const Tensor x = noise({rows, 256}, 3);
    EXPECT_LE(relative_error(int8(x, blocks.weight()), oracle::linear(x, blocks.values())), limit);
  }
}

TEST_P(EncodedLinear, ANumberThatIsNotFiniteSpoilsItsRowAlone) {
  Blocks blocks(type(), {37, 512});
  for (const std::int64_t rows : {3, 20}) {
    const Tensor x = noise({rows, 512}, 3);
    x.data<float>()[512 + 70] = std::numeric_limits<float>::infinity();
    const Tensor y = int8(x, blocks.weight());
    for (std::int64_t i = 0; i < y.size(); ++i)
      EXPECT_EQ(std::isnan(y.data<float>()[i]), i / 37 == 1) << i;
  }
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EncodedLinear);
INSTANTIATE_TEST_SUITE_P(
    Cpu, EncodedLinear,
    testing::Combine(testing::ValuesIn(kernels_with_blocks()),
                     testing::Values("Q8_0", "Q4_0", "IQ4_NL", "Q4_K", "Q5_K", "Q6_K")),
    [](const auto& entry) { return std::get<0>(entry.param) + "_" + std::get<1>(entry.param); });

TEST(BlockActivations, AreRefusedByKernelsThatCannot) {
  try {
    make_cpu_backend({.kernels = "portable", .block_activations = BlockActivations::int8});
    FAIL() << "was made";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(error.what()).find("VNNI"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace ernie_image
