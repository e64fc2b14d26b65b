// The CUDA backend beyond single operations: quantised layers, recorded steps, which weights are on
// the card when. Runs on the processor (tests/cuda_host), whose books count memory, or on a card.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "backend/cuda_loader.h"
#include "core/packed_weight.h"
#include "cuda_host/books.h"
#include "ernie_image/error.h"
#include "verify/oracle.h"

namespace ernie_image {
namespace {

Tensor random_tensor(Shape shape, float magnitude, unsigned seed) {
  Tensor tensor = Tensor::host(DType::f32, std::move(shape));
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> uniform(-magnitude, magnitude);
  for (float& value : tensor.span<float>()) value = uniform(generator);
  return tensor;
}

Weight weight_of(const std::string& name, const Tensor& values) {
  return {name, values.dtype(), values.shape(), values.bytes(), std::make_shared<Tensor>(values)};
}

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

double nmse(const Tensor& actual, const Tensor& expected) {
  const Tensor a = to_float(actual), e = to_float(expected);
  double error = 0, square = 0;
  for (std::int64_t i = 0; i < e.size(); ++i) {
    const double difference = double{a.data<float>()[i]} - e.data<float>()[i];
    error += difference * difference;
    square += double{e.data<float>()[i]} * e.data<float>()[i];
  }
  return error / square;
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

CudaHostBooks* books() {
  const char* const path = std::getenv("ERNIE_IMAGE_CUDA_LIBRARY");
  void* const library = path == nullptr ? nullptr : dlopen(path, RTLD_NOW | RTLD_NOLOAD);
  void* const symbol = library == nullptr ? nullptr : dlsym(library, "cuda_host_books");
  return symbol == nullptr ? nullptr : reinterpret_cast<CudaHostBooks* (*)()>(symbol)();
}

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
  const std::uint64_t launches = books() == nullptr ? 0 : books()->graph_launches;
  RepeatedStep step(*ops);
  for (unsigned call = 0; call < 5; ++call) {
    const Tensor x = random_tensor({5, 24}, 1, 100 + call);
    EXPECT_LT(nmse(step.run(x), step.expected(x)), 1e-10) << call;
    // What happens between the steps does not disturb what was recorded.
    ops->download(ops->add(ops->upload(x), ops->upload(x)));
    ops->release_cache();
  }
  EXPECT_EQ(step.evaluations, 2);  // one as it is, one recorded
  if (books() != nullptr) {
    EXPECT_EQ(books()->graph_launches - launches, 4u);
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

constexpr std::int64_t kWidth = 256;
constexpr int kLayers = 6;
constexpr std::uint64_t kLayerBytes = 2 * kWidth * kWidth * sizeof(float);
/// Activations, alignment.
constexpr std::uint64_t kSlack = std::uint64_t{128} << 10;

Tensor layer_values(int layer) {
  return random_tensor({kWidth, kWidth}, 0.1f, 7 + static_cast<unsigned>(layer));
}

Tensor network_input() { return random_tensor({3, kWidth}, 3, 9); }

/// Two matrices a layer, named as a checkpoint names them.
class Network {
 public:
  Network(Backend& ops, const std::string& prefix, Quantization quantization = Quantization::none)
      : ops_(ops) {
    for (int layer = 0; layer < kLayers; ++layer) {
      for (const char* name : {"a", "b"}) {
        const std::string full = prefix + "layers." + std::to_string(layer) + "." + name;
        const Tensor values = layer_values(layer);
        weights_.push_back(
            ops.prepare(weight_of(full + ".weight", values), WeightUse::linear, quantization));
      }
    }
  }

  Tensor run() const {
    Tensor x = ops_.upload(network_input());
    for (const WeightHandle& weight : weights_) x = ops_.linear(x, *weight);
    return ops_.download(x);
  }

 private:
  Backend& ops_;
  std::vector<WeightHandle> weights_;
};

class CudaMemory : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_info().cards.empty() || books() == nullptr)
      GTEST_SKIP() << "the books are the stand-in's";
    capacity_ = books()->capacity_bytes;
    at_start_ = books()->bytes_in_use;
    books()->peak_bytes = at_start_;
  }
  void TearDown() override {
    if (books() != nullptr) books()->capacity_bytes = capacity_;
  }
  std::uint64_t in_use() const { return books()->bytes_in_use - at_start_; }
  std::uint64_t peak() const { return books()->peak_bytes - at_start_; }
  void set_capacity(std::uint64_t bytes) { books()->capacity_bytes = at_start_ + bytes; }

  static void expect_right(const Tensor& actual, double limit = 1e-10) {
    Tensor expected = network_input();
    for (int i = 0; i < 2 * kLayers; ++i) expected = oracle::linear(expected, layer_values(i / 2));
    EXPECT_LT(nmse(actual, expected), limit);
  }

 private:
  std::uint64_t capacity_ = 0, at_start_ = 0;
};

TEST_F(CudaMemory, WithoutOffloadEverythingStays) {
  const auto ops = make_cuda_backend({.offload = "none"});
  const Network network(*ops, "");
  EXPECT_LT(in_use(), kSlack);  // nothing goes up before it is used
  expect_right(network.run());
  ops->end_stage();
  EXPECT_GE(in_use(), kLayers * kLayerBytes);
}

TEST_F(CudaMemory, AStageLeavesWhenItIsDone) {
  const auto ops = make_cuda_backend({.offload = "encoder"});
  const Network encoder(*ops, "model."), transformer(*ops, "");
  for (const Network* network : {&encoder, &transformer, &encoder}) {
    expect_right(network->run());
    ops->end_stage();
    ops->release_cache();
    EXPECT_LT(in_use(), kSlack);
  }
  EXPECT_LT(peak(), kLayers * kLayerBytes + kSlack);
}

TEST_F(CudaMemory, LayersAreStreamedThroughTwoBuffers) {
  const auto ops = make_cuda_backend({.offload = "layers"});
  const Network network(*ops, "");
  for (int step = 0; step < 5; ++step) expect_right(network.run());
  EXPECT_GE(peak(), 2 * kLayerBytes);
  EXPECT_LT(peak(), 2 * kLayerBytes + kSlack);
}

TEST_F(CudaMemory, StreamedLayersMayBeQuantisedOnTheWay) {
  const auto ops = make_cuda_backend({.offload = "layers"});
  const Network network(*ops, "", Quantization::int8);
  expect_right(network.run(), 1e-2);
  // Codes, and one matrix as the file has it while it is rounded.
  EXPECT_LT(peak(), 2 * (kLayerBytes / 4 + kLayerBytes / 2) + kSlack);
}

TEST_F(CudaMemory, AutomaticKeepsWhatFitsAndStreamsWhatDoesNot) {
  set_capacity(2 * kLayers * kLayerBytes);
  {
    const auto ops = make_cuda_backend({});
    const Network network(*ops, "");
    expect_right(network.run());
    EXPECT_GE(in_use(), kLayers * kLayerBytes);
  }
  set_capacity(kLayers * kLayerBytes);
  const auto ops = make_cuda_backend({});
  const Network network(*ops, "");
  expect_right(network.run());
  EXPECT_LT(in_use(), 2 * kLayerBytes + kSlack);
}

TEST_F(CudaMemory, AStepWithStreamedLayersIsNotRecorded) {
  const auto ops = make_cuda_backend({.offload = "layers"});
  const std::uint64_t launches = books()->graph_launches;
  const Network network(*ops, "");
  for (int call = 0; call < 4; ++call) {
    ops->repeat({}, {}, [&](std::span<const Tensor>) {
      expect_right(network.run());
      return Tensor();
    });
  }
  EXPECT_EQ(books()->graph_launches, launches);
}

TEST_F(CudaMemory, WithoutOffloadFullMemoryIsAnError) {
  set_capacity(kLayers * kLayerBytes / 2);
  const auto ops = make_cuda_backend({.offload = "none"});
  const Network network(*ops, "");
  try {
    network.run();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::out_of_memory);
  }
}

TEST_F(CudaMemory, EverythingIsGivenBack) {
  { Network(*make_cuda_backend({}), "").run(); }
  EXPECT_EQ(in_use(), 0u);
}

TEST_F(CudaBackend, UnknownOptionsAndCardsAreErrors) {
  EXPECT_THROW(make_cuda_backend({.device = 7000}), Error);
  EXPECT_THROW(make_cuda_backend({.attention = "fast"}), Error);
  EXPECT_THROW(make_cuda_backend({.offload = "some"}), Error);
}

}  // namespace
}  // namespace ernie_image
