// Weights shared out among cards: the parts, and what cards compute of them together.
#include "nn/split_weights.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <future>

#include "backend/registry.h"
#include "core/packed_weight.h"
#include "core/row_codes.h"
#include "core/unpack_weight.h"
#include "ernie_image/error.h"
#include "models/transformer.h"
#include "support/device.h"
#include "support/formula_weights.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

Weight weight_of(const Tensor& values) {
  return {"w", values.dtype(), values.shape(), values.bytes(), std::make_shared<Tensor>(values)};
}

std::vector<float> numbers_of(const Weight& weight) {
  std::vector<float> numbers(static_cast<std::size_t>(num_elements(weight.shape)));
  if (is_packed(weight.format)) {
    for (std::int64_t row = 0; row < weight.shape[0]; ++row)
      unpack_row(weight, row, numbers.data() + row * weight.shape[1]);
  } else {
    widen_elements(weight, 0, std::ssize(numbers), numbers.data());
  }
  return numbers;
}

/// Three shares put together are the whole, however it is read.
void expect_shares(const Weight& whole) {
  const std::int64_t rows = whole.shape[0], columns = whole.shape[1];
  const std::vector<float> expected = numbers_of(whole);
  for (int rank = 0; rank < 3; ++rank) {
    const WeightShare share = {rank, 3};
    const Weight upper = rows_of(whole, share), left = columns_of(whole, share);
    ASSERT_EQ(upper.shape, (Shape{rows / 3, columns}));
    ASSERT_EQ(left.shape, (Shape{rows, columns / 3}));
    const std::vector<float> of_rows = numbers_of(upper), of_columns = numbers_of(left);
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t k = 0; k < columns; ++k) {
        const float value = expected[static_cast<std::size_t>(i * columns + k)];
        if (i / (rows / 3) == rank) {
          const std::int64_t at = (i - rank * (rows / 3)) * columns + k;
          ASSERT_EQ(of_rows[static_cast<std::size_t>(at)], value) << i << ", " << k;
        }
        if (k / (columns / 3) == rank) {
          const std::int64_t at = i * (columns / 3) + k - rank * (columns / 3);
          ASSERT_EQ(of_columns[static_cast<std::size_t>(at)], value) << i << ", " << k;
        }
      }
    }
    float few[5] = {};
    left.decoder->decode(columns / 3 - 2, 5, few);  // over the end of a row
    for (std::size_t i = 0; i < 5; ++i)
      EXPECT_EQ(few[i], of_columns[static_cast<std::size_t>(columns / 3 - 2) + i]);
  }
}

TEST(SplitWeights, SharesOfEveryFormatMakeUpTheWhole) {
  const Tensor values = golden::formula_tensor("w", {48, 96}, 1.0f);
  const Weight plain = weight_of(values), wide = weight_of(to_float(values));
  expect_shares(plain);
  expect_shares(wide);
  EXPECT_EQ(rows_of(plain, {1, 3}).data, plain.data + 16 * 96 * 2) << "mapped, not copied";
  for (const WeightFormat format : {WeightFormat::packed_int8, WeightFormat::packed_int4}) {
    const PackedLayout layout(format, plain.shape);
    std::vector<std::byte> records(layout.size_bytes());
    for (std::int64_t panel = 0; panel < layout.panels; ++panel)
      pack_panel(layout, plain, panel,
                 records.data() + static_cast<std::size_t>(panel) * layout.record_bytes());
    expect_shares({"w", DType::i8, plain.shape, records.data(), nullptr, format, records.size()});
  }
}

TEST(SplitWeights, RowsThatWereMadeForACardStaySo) {
  const Weight plain = weight_of(golden::formula_tensor("w", {48, 96}, 1.0f));
  const RowCodesLayout layout(plain.shape);
  std::vector<std::byte> bytes(layout.size_bytes);
  std::vector<float> scratch(96);
  for (std::int64_t row = 0; row < 48; ++row) {
    const float scale = make_row_codes(plain, row, scratch,
                                       reinterpret_cast<std::int8_t*>(bytes.data()) + row * 96);
    std::memcpy(bytes.data() + layout.scale_offset + static_cast<std::size_t>(row) * 4, &scale, 4);
  }
  Weight stored = plain;
  stored.format = WeightFormat::encoded;
  stored.packed_bytes = bytes.size();
  stored.decoder = make_row_codes_decoder(layout, bytes.data());
  expect_shares(stored);
  const auto rows = rows_of(stored, {2, 3}).decoder->row_codes();
  ASSERT_TRUE(rows);
  EXPECT_EQ(rows->codes, bytes.data() + 32 * 96);
  EXPECT_EQ(rows->scales, bytes.data() + layout.scale_offset + 32 * 4);
  EXPECT_FALSE(columns_of(stored, {2, 3}).decoder->row_codes()) << "they are rotated with others";
}

/// Random numbers of bf16 under every name.
class AnyWeights : public WeightSource {
 public:
  bool contains(std::string_view) const override { return true; }
  Weight get(const std::string& name, const Shape& shape) override {
    const bool is_norm = shape.size() == 1;
    Weight weight = weight_of(golden::formula_tensor(name, shape, 0.2f, is_norm ? 1.0f : 0.0f));
    weight.name = name;  // by which rules of quantisation know it
    return weight;
  }
  void require_complete() const override {}
  std::vector<std::string> unused() const override { return {}; }
  void release_pages() const override {}
};

TransformerConfig eight_heads() {
  TransformerConfig config;
  config.hidden_size = 128;
  config.num_attention_heads = 8;
  config.num_layers = 2;
  config.ffn_hidden_size = 192;
  config.in_channels = config.out_channels = 16;
  config.text_in_dim = 128;
  config.rope_axes_dim = {4, 6, 6};
  return config;
}

/// Of one card, or of its share of several.
Tensor velocity(Backend& ops, const WeightShare& share, Collective* group, DType dtype,
                Quantization quantization) {
  AnyWeights source;
  Transformer transformer(ops, source, eight_heads(), quantization, share);
  transformer.sum_over(group);
  const auto upload = [&](const char* name, const Shape& shape) {
    return ops.upload(round_to(to_float(golden::formula_tensor(name, shape, 1.0f)), dtype));
  };
  const std::array<std::int64_t, 1> lengths = {5};
  const TransformerContext context =
      transformer.prepare(upload("text", {1, 5, 128}), lengths, 3, 4, nullptr);
  const std::array<float, 1> timesteps = {500};
  return to_float(ops.download(
      transformer.forward(upload("latents", {1, 16, 3, 4}), timesteps, context, nullptr)));
}

class SplitOnCards : public testing::Test {
 protected:
  void SetUp() override {
    const DeviceKind& kind = device_kind(test_device());
    const std::size_t found = kind.connect == nullptr ? 0 : kind.info().cards.size();
    if (found < 4) GTEST_SKIP() << "for four cards or eight";
    most_ = found < 8 ? 4 : 8;
    for (int card = 0; card < most_; ++card)
      cards.push_back(make_backend({.device = kind.name + ":" + std::to_string(card)}));
  }
  /// The largest error of any of `ranks` cards.
  double error_of(int ranks, DType dtype, Quantization quantization = Quantization::none) {
    const Tensor alone = velocity(*cards[0], {}, nullptr, dtype, quantization);
    std::vector<Backend*> members;
    for (int rank = 0; rank < ranks; ++rank) members.push_back(cards[std::size_t(rank)].get());
    const auto group = device_kind(test_device()).connect(members);
    std::vector<std::future<Tensor>> results;
    for (int rank = 0; rank < ranks; ++rank) {
      results.push_back(std::async(std::launch::async, [&, rank] {
        return velocity(*members[std::size_t(rank)], {rank, ranks}, group[std::size_t(rank)].get(),
                        dtype, quantization);
      }));
    }
    double error = 0;
    for (auto& result : results) error = std::max(error, golden::compare(result.get(), alone).nmse);
    return error;
  }

  int most_ = 0;
  std::vector<std::unique_ptr<Backend>> cards;
};

TEST_F(SplitOnCards, SeveralComputeWhatOneDoes) {
  for (int ranks = 2; ranks <= most_; ranks *= 2)
    EXPECT_LE(error_of(ranks, DType::f32), 1e-9) << ranks;
}

/// Parts are rounded before they are summed.
TEST_F(SplitOnCards, SeveralRoundLittleMoreInBf16) {
  const double error = error_of(most_, DType::bf16);
  EXPECT_LE(error, 1e-4);
  EXPECT_GT(error, 0);
}

/// Columns have scales of their own on each card.
TEST_F(SplitOnCards, Int8IsAsNearAsOnOne) {
  const Tensor exact = velocity(*cards[0], {}, nullptr, DType::f32, Quantization::none);
  const Tensor alone = velocity(*cards[0], {}, nullptr, DType::f32, Quantization::int8);
  EXPECT_LE(error_of(4, DType::f32, Quantization::int8), 2 * golden::compare(alone, exact).nmse);
}

}  // namespace
}  // namespace ernie_image
