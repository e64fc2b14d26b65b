// The CUDA backend beyond single operations and what all cards do: quantised layers, recorded
// steps. Runs on the processor (tests/cuda_host), whose books count memory, or on a card.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "backend/card_network.h"
#include "backend/cuda/loader.h"
#include "core/packed_weight.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

Weight packed(WeightFormat format, const Tensor& values) {
  const PackedLayout layout(format, values.shape());
  const auto records = std::make_shared<Tensor>(
      Tensor::host(DType::i8, {static_cast<std::int64_t>(layout.size_bytes())}));
  for (std::int64_t panel = 0; panel < layout.panels; ++panel) {
    pack_panel(layout, weight_of("plain", values), panel,
               records->bytes() + static_cast<std::size_t>(panel) * layout.record_bytes());
  }
  return {"packed", DType::i8, values.shape(),     records->bytes(),
          records,  format,    layout.size_bytes()};
}

class CudaBackend : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_info().cards.empty()) GTEST_SKIP() << "no device";
  }
};

// ---- quantised layers ------------------------------------------------------------------------

/// Depths that are whole rotations of 256, of 32, a half-filled group, and no rotation at all.
const std::vector<std::int64_t> kDepths = {512, 96, 288, 50};

/// The largest of some hundred numbers that are nearly normal, as rotated ones are, is 3 to 3.5
/// deviations: a step of a 127th of it is an nMSE of 5e-5 to 6e-5, for weights and activations
/// each. Packed weights are rounded twice. int4: see docs/numerics.md.
constexpr double kInt8Limit = 3e-4;
constexpr double kInt4Limit = 1.2e-2;

void expect_quantised(Backend& ops, const Tensor& x, const Tensor& w, const Weight& weight,
                      Quantization quantization, double limit) {
  const WeightHandle handle = ops.prepare(weight, WeightUse::linear, quantization);
  const Tensor bias = random_tensor({w.dim(0)}, 1, 5);
  const WeightHandle offsets = ops.prepare(weight_of("bias", bias), WeightUse::vector);
  const Tensor device = ops.upload(x);
  EXPECT_LT(nmse(ops.download(ops.linear(device, *handle)), oracle::linear(x, w)), limit)
      << to_string(x.shape());
  EXPECT_LT(
      nmse(ops.download(ops.linear(device, *handle, offsets.get())), oracle::linear(x, w, bias)),
      limit)
      << to_string(x.shape()) << " with bias";
}

TEST_F(CudaBackend, QuantisedLayersAreCloseForPlainAndForPackedWeights) {
  const auto ops = make_cuda_backend({});
  for (const std::int64_t depth : kDepths) {
    const Tensor w = random_tensor({37, depth}, 1, 1);
    for (const std::int64_t rows : {1, 13}) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        const Tensor x = round_to(random_tensor({rows, depth}, 2, 2), dtype);
        expect_quantised(*ops, x, w, weight_of("w", w), Quantization::int8, kInt8Limit);
        expect_quantised(*ops, x, w, packed(WeightFormat::packed_int8, w), Quantization::none,
                         kInt8Limit);
        expect_quantised(*ops, x, w, weight_of("w", w), Quantization::int4, kInt4Limit);
        expect_quantised(*ops, x, w, packed(WeightFormat::packed_int4, w), Quantization::int4,
                         kInt4Limit);
      }
    }
  }
}

TEST_F(CudaBackend, QuantisedRowsDoNotDependOnTheirNumber) {
  const auto ops = make_cuda_backend({});
  const Tensor w = random_tensor({40, 256}, 1, 1);
  const WeightHandle weight =
      ops->prepare(weight_of("w", w), WeightUse::linear, Quantization::int8);
  const Tensor x = random_tensor({3, 256}, 1, 2);
  const Tensor together = ops->download(ops->linear(ops->upload(x), *weight));
  for (std::int64_t row = 0; row < 3; ++row) {
    const Tensor alone = ops->download(ops->linear(ops->upload(x.slice(row, 1)), *weight));
    for (std::int64_t n = 0; n < 40; ++n)
      ASSERT_EQ(alone.data<float>()[n], together.data<float>()[row * 40 + n]) << row << " " << n;
  }
}

TEST_F(CudaBackend, NotFiniteNumbersPoisonTheirRowAlone) {
  const auto ops = make_cuda_backend({});
  const Tensor w = random_tensor({8, 64}, 1, 1);
  const WeightHandle weight =
      ops->prepare(weight_of("w", w), WeightUse::linear, Quantization::int8);
  Tensor x = random_tensor({2, 64}, 1, 2);
  x.data<float>()[64 + 7] = INFINITY;
  const Tensor y = ops->download(ops->linear(ops->upload(x), *weight));
  for (std::int64_t n = 0; n < 8; ++n) {
    EXPECT_TRUE(std::isfinite(y.data<float>()[n]));
    EXPECT_TRUE(std::isnan(y.data<float>()[8 + n]));
  }
}

TEST_F(CudaBackend, PackedBytesOfAnotherSizeAreRefused) {
  const auto ops = make_cuda_backend({});
  Weight weight = packed(WeightFormat::packed_int8, random_tensor({16, 64}, 1, 1));
  weight.packed_bytes -= 64;
  try {
    ops->prepare(weight, WeightUse::linear);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::corrupt_file);
  }
}

// ---- recorded steps --------------------------------------------------------------------------

/// y = silu(x w^T + c), with temporaries.
struct RepeatedStep {
  explicit RepeatedStep(Backend& backend)
      : ops(backend),
        w(random_tensor({24, 24}, 0.3f, 3)),
        c(random_tensor({5, 24}, 1, 4)),
        weight(ops.prepare(weight_of("w", w), WeightUse::linear)),
        constant(ops.upload(c)) {}

  Tensor run(const Tensor& x) {
    ++calls;
    const std::array inputs = {ops.upload(x)};
    const std::array constants = {constant};
    return ops.download(ops.repeat(inputs, constants, [this](std::span<const Tensor> in) {
      ++evaluations;
      return ops.silu(ops.add(ops.linear(in[0], *weight), constant));
    }));
  }
  Tensor expected(const Tensor& x) const {
    return oracle::silu(oracle::add(oracle::linear(x, w), c));
  }

  Backend& ops;
  Tensor w, c;
  WeightHandle weight;
  Tensor constant;
  int calls = 0, evaluations = 0;
};

TEST_F(CudaBackend, ARepeatedStepIsRecordedOnceAndReplayedWithNewInputs) {
  const auto ops = make_cuda_backend({});
  const std::uint64_t launches = shim_books() == nullptr ? 0 : shim_books()->graph_launches;
  RepeatedStep step(*ops);
  for (unsigned call = 0; call < 5; ++call) {
    const Tensor x = random_tensor({5, 24}, 1, 100 + call);
    EXPECT_LT(nmse(step.run(x), step.expected(x)), 1e-10) << call;
    // What happens between the steps does not disturb what was recorded.
    ops->download(ops->add(ops->upload(x), ops->upload(x)));
    ops->release_cache();
  }
  EXPECT_EQ(step.evaluations, 2);  // one as it is, one recorded
  if (shim_books() != nullptr) {
    EXPECT_EQ(shim_books()->graph_launches - launches, 4u);
  }
  ops->end_stage();
  const Tensor x = random_tensor({5, 24}, 1, 200);
  EXPECT_LT(nmse(step.run(x), step.expected(x)), 1e-10);
  EXPECT_EQ(step.evaluations, 3);
}

TEST_F(CudaBackend, AStepThatUploadsIsNotRecorded) {
  const auto ops = make_cuda_backend({});
  const Tensor x = random_tensor({4, 8}, 1, 1);
  for (int call = 1; call < 5; ++call) {
    Tensor offset = Tensor::host(DType::f32, {4, 8});
    std::ranges::fill(offset.span<float>(), static_cast<float>(call));
    const std::array inputs = {ops->upload(x)};
    const Tensor y = ops->download(ops->repeat(inputs, {}, [&](std::span<const Tensor> in) {
      return ops->add(in[0], ops->upload(offset));
    }));
    EXPECT_EQ(nmse(y, oracle::add(x, offset)), 0) << call;
  }
}

TEST_F(CudaBackend, StepsWithOtherShapesOrConstantsAreOthers) {
  const auto ops = make_cuda_backend({});
  RepeatedStep first(*ops), second(*ops);
  for (unsigned call = 0; call < 4; ++call) {
    const Tensor x = random_tensor({5, 24}, 1, call);
    EXPECT_LT(nmse(first.run(x), first.expected(x)), 1e-10);
    EXPECT_LT(nmse(second.run(x), second.expected(x)), 1e-10);
  }
  EXPECT_EQ(first.evaluations, 2);
  EXPECT_EQ(second.evaluations, 2);
}

// ---- memory ----------------------------------------------------------------------------------
// Beyond what holds for all cards: card_memory_test.cpp.

TEST_F(CudaBackend, StreamedLayersMayBeQuantisedOnTheWay) {
  const auto ops = make_cuda_backend({.offload = "layers"});
  auto counted = cuda_books();
  if (!counted) GTEST_SKIP() << "the books are the stand-in's";
  const CountedCard card(std::move(*counted));
  const Network network(*ops, "", Quantization::int8);
  expect_network_right(network.run(), 1e-2);
  // Codes, and one matrix as the file has it while it is rounded.
  EXPECT_LT(card.peak(), 2 * (kLayerBytes / 4 + kLayerBytes / 2) + kSlackBytes);
}

TEST_F(CudaBackend, AStepWithStreamedLayersIsNotRecorded) {
  const auto ops = make_cuda_backend({.offload = "layers"});
  if (shim_books() == nullptr) GTEST_SKIP() << "the books are the stand-in's";
  const std::uint64_t launches = shim_books()->graph_launches;
  const Network network(*ops, "");
  for (int call = 0; call < 4; ++call) {
    ops->repeat({}, {}, [&](std::span<const Tensor>) {
      expect_network_right(network.run());
      return Tensor();
    });
  }
  EXPECT_EQ(shim_books()->graph_launches, launches);
}

}  // namespace
}  // namespace ernie_image
