// How many kernels a layer takes on an Ascend card, as the stand-in counts them:
// docs/ascend_backend.md,
// "Kernels".
#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <string>

#include "backend/card_books.h"
#include "models/transformer.h"
#include "nn/rotary.h"
#include "support/device.h"
#include "support/formula_weights.h"

namespace ernie_image {
namespace {

/// Random numbers of bf16 under every name.
class RandomWeights : public WeightSource {
 public:
  bool contains(std::string_view) const override { return true; }
  Weight get(const std::string& name, const Shape& shape) override {
    const bool is_norm = shape.size() == 1;
    const Tensor values = golden::formula_tensor(name, shape, 0.2f, is_norm ? 1.0f : 0.0f);
    return {name, values.dtype(), values.shape(), values.bytes(), std::make_shared<Tensor>(values)};
  }
  void require_complete() const override {}
  std::vector<std::string> unused() const override { return {}; }
  void release_pages() const override {}
};

struct Kernels {
  std::uint64_t launches, copies, casts;
  std::uint64_t all() const { return launches + copies + casts; }
};

Kernels now() {
  StandinBooks books{};
  reinterpret_cast<decltype(standin_books)*>(symbol_of("libascendcl.so", "standin_books"))(0,
                                                                                           &books);
  return {books.launches, books.hidden_copies, books.hidden_casts};
}

template <typename Work>
Kernels kernels_of(const Work& work) {
  const Kernels before = now();
  work();
  const Kernels after = now();
  return {after.launches - before.launches, after.copies - before.copies,
          after.casts - before.casts};
}

class AscendKernels : public testing::Test {
 protected:
  void SetUp() override {
    if (test_device() != "ascend") GTEST_SKIP() << "another device is tested";
    ops = make_test_backend();
    if (symbol_of("libascendcl.so", "standin_books") == nullptr)
      GTEST_SKIP() << "only the stand-in counts";
  }

  /// Of the second of two layers: the first one makes what all layers use.
  Kernels layer_kernels(std::int64_t batch, DType dtype) {
    TransformerConfig config;
    config.hidden_size = 64;
    config.num_attention_heads = 2;
    config.ffn_hidden_size = 96;
    config.rope_axes_dim = {8, 12, 12};
    RandomWeights source;
    const WeightLoader loader(*ops, source);
    const TransformerBlock first(loader.layer("layers", 0), config);
    const TransformerBlock second(loader.layer("layers", 1), config);
    const std::int64_t tokens = 6;
    const auto random = [&](const char* name, const Shape& shape) {
      return ops->upload(round_to(to_float(golden::formula_tensor(name, shape, 1.0f)), dtype));
    };
    std::vector<std::vector<Position3>> positions(1);
    for (std::int64_t i = 0; i < tokens; ++i) positions[0].push_back({1, static_cast<float>(i), 2});
    TransformerContext context;
    context.rotary = make_rotary_table(*ops, axes_rope_angles(positions, 256, config.rope_axes_dim),
                                       1.0f, dtype);
    const Modulation modulation{random("modulation", {batch, 6 * config.hidden_size})};
    const Tensor x = random("x", {batch, tokens, config.hidden_size});
    const Tap nobody(*ops, nullptr, "");
    first.forward(*ops, x, modulation, context, nobody);
    const Kernels kernels =
        kernels_of([&] { second.forward(*ops, x, modulation, context, nobody); });
    std::cout << "a layer of the transformer, batch " << batch << ", " << dtype_name(dtype) << ": "
              << kernels.all() << " kernels: " << kernels.launches << " operations, "
              << kernels.copies << " hidden copies, " << kernels.casts << " hidden casts\n";
    return kernels;
  }

  std::unique_ptr<Backend> ops;
};

TEST_F(AscendKernels, OfALayerOfTheTransformerInBf16) {
  const Kernels kernels = layer_kernels(1, DType::bf16);
  // With halves of heads, and types mixed as they came, it was 76: 38, 24 and 14.
  EXPECT_LE(kernels.all(), 34u);
  EXPECT_EQ(kernels.copies, 0u);
  EXPECT_EQ(kernels.casts, 0u);
}

TEST_F(AscendKernels, AreAsManyForSeveralPictures) {
  const Kernels kernels = layer_kernels(3, DType::bf16);
  EXPECT_LE(kernels.all(), 34u);
  EXPECT_EQ(kernels.copies, 0u);
}

}  // namespace
}  // namespace ernie_image
