// Which weights are on the card when, counted by the stand-in's books.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "ascend_standin/machine.h"
#include "backend/ascend/ascend_backend.h"
#include "backend/cpu/cpu_backend.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::int64_t kWidth = 512;
constexpr int kLayers = 6;
constexpr std::uint64_t kWeightBytes = kWidth * kWidth * sizeof(float);  // 1 MiB
constexpr std::uint64_t kLayerBytes = 2 * kWeightBytes;
/// Workspace, activations, alignment.
constexpr std::uint64_t kSlack = std::uint64_t{512} << 10;

/// Two matrices a layer, named as a checkpoint names them.
class Network {
 public:
  Network(Backend& ops, const std::string& prefix) : ops_(ops) {
    std::mt19937 generator(7);
    std::uniform_real_distribution<float> uniform(-0.05f, 0.05f);
    for (int layer = 0; layer < kLayers; ++layer) {
      for (const char* name : {"a", "b"}) {
        const auto values = std::make_shared<Tensor>(Tensor::host(DType::f32, {kWidth, kWidth}));
        for (float& value : values->span<float>()) value = uniform(generator);
        weights_.push_back(
            ops.prepare({prefix + "layers." + std::to_string(layer) + "." + name + ".weight",
                         DType::f32, values->shape(), values->bytes(), values},
                        WeightUse::linear));
      }
    }
  }

  Tensor run() const {
    Tensor x = Tensor::host(DType::f32, {3, kWidth});
    for (std::int64_t i = 0; i < x.size(); ++i) x.data<float>()[i] = static_cast<float>(i % 7) - 3;
    x = ops_.upload(x);
    for (const WeightHandle& weight : weights_) x = ops_.linear(x, *weight);
    return ops_.download(x);
  }

 private:
  Backend& ops_;
  std::vector<WeightHandle> weights_;
};

class AscendMemory : public testing::Test {
 protected:
  void SetUp() override {
    if (ascend_info().cards.empty() || symbol("standin_books") == nullptr)
      GTEST_SKIP() << "the books are the stand-in's";
    call<decltype(standin_reset_peak)>("standin_reset_peak")(0);
    at_start = books().bytes_in_use;
  }
  void TearDown() override {
    if (symbol("standin_set_capacity") != nullptr) set_capacity(std::uint64_t{64} << 30);
  }

  static void* symbol(const char* name) {
    void* const library = dlopen("libascendcl.so", RTLD_LAZY | RTLD_NOLOAD);
    return library == nullptr ? nullptr : dlsym(library, name);
  }
  template <typename Function>
  static Function* call(const char* name) {
    return reinterpret_cast<Function*>(symbol(name));
  }
  static StandinBooks books() {
    StandinBooks books{};
    call<decltype(standin_books)>("standin_books")(0, &books);
    return books;
  }
  void set_capacity(std::uint64_t bytes) {
    call<decltype(standin_set_capacity)>("standin_set_capacity")(0, at_start + bytes);
  }
  std::uint64_t peak() const { return books().peak_bytes - at_start; }
  std::uint64_t in_use() const { return books().bytes_in_use - at_start; }

  /// What the backend counts is what the card has handed out.
  void expect_counted(const Backend& ops) const {
    EXPECT_EQ(ops.device_memory()->held_bytes, in_use());
    EXPECT_EQ(ops.device_memory()->peak_bytes, peak());
  }

  void expect_right(const Tensor& actual) {
    const auto cpu = make_cpu_backend();
    const Tensor expected = Network(*cpu, "").run();
    for (std::int64_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(actual.data<float>()[i], expected.data<float>()[i], 1e-4) << i;
  }

  std::uint64_t at_start = 0;
};

TEST_F(AscendMemory, WithoutOffloadEverythingStays) {
  const auto ops = make_ascend_backend({.offload = "none"});
  const Network network(*ops, "");
  EXPECT_LT(in_use(), kSlack);  // nothing goes up before it is used
  expect_right(network.run());
  ops->end_stage();
  EXPECT_GE(in_use(), kLayers * kLayerBytes);
  expect_counted(*ops);
}

/// A larger picture may need the room of layers that were all there before.
TEST_F(AscendMemory, AutomaticDecidesAnewForEachStage) {
  set_capacity(2 * kLayers * kLayerBytes);
  const auto ops = make_ascend_backend();
  const Network network(*ops, "");
  ops->begin_stage(kLayerBytes);
  expect_right(network.run());
  EXPECT_GE(in_use(), kLayers * kLayerBytes);
  ops->end_stage();
  ops->begin_stage(kLayers * kLayerBytes + kLayerBytes);
  expect_right(network.run());
  EXPECT_LT(in_use(), 3 * kLayerBytes);
  ops->end_stage();
  ops->begin_stage(kLayerBytes);
  expect_right(network.run());
  EXPECT_GE(in_use(), kLayers * kLayerBytes);
}

TEST_F(AscendMemory, AStageLeavesWhenItIsDone) {
  const auto ops = make_ascend_backend({.offload = "encoder"});
  const Network encoder(*ops, "model."), transformer(*ops, "");
  for (int request = 0; request < 2; ++request) {
    for (const Network* network : {&encoder, &transformer}) {
      expect_right(network->run());
      ops->end_stage();
      ops->release_cache();
      EXPECT_LT(in_use(), kSlack);
    }
  }
  EXPECT_LT(peak(), kLayers * kLayerBytes + kSlack);
  expect_counted(*ops);
}

TEST_F(AscendMemory, LayersAreStreamedThroughTwoBuffers) {
  const auto ops = make_ascend_backend({.offload = "layers"});
  const Network network(*ops, "");
  for (int step = 0; step < 5; ++step) expect_right(network.run());
  EXPECT_GE(peak(), 2 * kLayerBytes);
  EXPECT_LT(peak(), 2 * kLayerBytes + kSlack);
  expect_counted(*ops);
  EXPECT_EQ(books().violations, 0u);
}

TEST_F(AscendMemory, AutomaticKeepsWhatFitsAndStreamsWhatDoesNot) {
  set_capacity(2 * kLayers * kLayerBytes);
  {
    const auto ops = make_ascend_backend();
    const Network network(*ops, "");
    expect_right(network.run());
    EXPECT_GE(in_use(), kLayers * kLayerBytes);
  }
  set_capacity(kLayers * kLayerBytes);
  const auto ops = make_ascend_backend();
  const Network network(*ops, "");
  expect_right(network.run());
  EXPECT_LT(in_use(), 2 * kLayerBytes + kSlack);
}

TEST_F(AscendMemory, AutomaticDropsAFinishedStageWhenRoomIsNeeded) {
  set_capacity(kLayers * kLayerBytes * 3 / 2);
  const auto ops = make_ascend_backend();
  const Network encoder(*ops, "model."), transformer(*ops, "");
  encoder.run();
  EXPECT_GE(in_use(), kLayers * kLayerBytes);
  ops->end_stage();
  expect_right(transformer.run());
  ops->end_stage();
  expect_right(encoder.run());
}

TEST_F(AscendMemory, WithoutOffloadFullMemoryIsAnError) {
  set_capacity(kLayers * kLayerBytes / 2);
  const auto ops = make_ascend_backend({.offload = "none"});
  const Network network(*ops, "");
  try {
    network.run();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::out_of_memory);
  }
}

TEST_F(AscendMemory, WeightsGoWithTheirHandles) {
  const auto ops = make_ascend_backend({.offload = "none"});
  { Network(*ops, "").run(); }
  ops->release_cache();
  EXPECT_LT(in_use(), kSlack);
}

TEST_F(AscendMemory, QuantisedWeightsAreRefused) {
  const auto ops = make_ascend_backend();
  const Tensor w = Tensor::host(DType::f32, {4, 4});
  EXPECT_THROW(ops->prepare({"w", DType::f32, w.shape(), w.bytes(), nullptr}, WeightUse::linear,
                            Quantization::int8),
               Error);
}

TEST_F(AscendMemory, UnknownOptionsAndCardsAreErrors) {
  EXPECT_THROW(make_ascend_backend({.device = 7}), Error);
  EXPECT_THROW(make_ascend_backend({.attention = "fast"}), Error);
  EXPECT_THROW(make_ascend_backend({.offload = "some"}), Error);
}

}  // namespace
}  // namespace ernie_image
