// Rules of the attention operators, the masks above all.
#include "ascend_rules.h"
#include "backend/ascend/attention.h"

namespace ernie_image::ascend {
namespace {

constexpr std::int64_t kAll = 2147483647;
const View kNone;

struct FusedExtras {
  View mask = {};
  Integers lengths = {{}, false};
  std::int64_t sparse_mode = 0;
  const char* layout = "BSND";
  std::int64_t heads = 0;  ///< 0: those of the query
};

class AscendAttentionRules : public AscendRules {
 protected:
  Tensor tokens(std::int64_t batch, std::int64_t rows, std::int64_t heads = 2,
                std::int64_t width = 16, DType dtype = DType::bf16) {
    return filled(dtype, {batch, rows, heads, width});
  }

  void fused(const View& q, const View& k, const FusedExtras& more = {}) {
    std::string layout = more.layout;
    const std::int64_t heads = more.heads == 0 ? q.shape[2] : more.heads;
    const std::int64_t kv_heads = k.shape[2], zero = 0;
    const Tensor y = stream->empty(q.dtype, q.shape);
    stream->call(cann().FusedInferAttentionScoreV2, q, ViewList{{k}}, ViewList{{k}}, kNone,
                 more.mask, nullptr, more.lengths, kNone, kNone, kNone, kNone, kNone, kNone, kNone,
                 kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, nullptr, heads, 1.0,
                 kAll, kAll, layout.data(), kv_heads, more.sparse_mode, zero, zero, zero, false,
                 zero, zero, y, nullptr);
  }
  testing::AssertionResult fused_refuses(const std::string& words, const View& q, const View& k,
                                         const FusedExtras& more = {}) {
    return refused(words, [&] { fused(q, k, more); });
  }

  void flash(const Tensor& q, const Tensor& k, const View& mask, DType statistics = DType::f32) {
    char layout[] = "BSND";
    const Shape shape = {q.dim(0), q.dim(2), q.dim(1), 8};
    const Tensor y = stream->empty(q.dtype(), q.shape());
    const std::int64_t heads = q.dim(2), zero = 0;
    stream->call(cann().FlashAttentionScore, q, k, k, kNone, kNone, kNone, mask, nullptr, 1.0, 1.0,
                 kAll, kAll, heads, static_cast<char*>(layout), zero, zero,
                 stream->empty(statistics, shape), stream->empty(DType::f32, shape),
                 stream->empty(q.dtype(), {0}), y);
  }
};

TEST_F(AscendAttentionRules, MasksOfTheWrongShapeOrTypeAreRefused) {
  const Tensor q = tokens(2, 5), k = tokens(2, 7);
  EXPECT_TRUE(fused_refuses("must be larger than sQ(5)", q, k, {View(bools({2, 1, 1, 7}))}));
  EXPECT_TRUE(fused_refuses("KV_S(6)", q, k, {View(bools({2, 1, 5, 6}))}));
  EXPECT_TRUE(fused_refuses("batch(3)", q, k, {View(bools({3, 1, 5, 7}))}));
  EXPECT_TRUE(fused_refuses("heads", q, k, {View(bools({2, 2, 5, 7}))}));
  EXPECT_TRUE(fused_refuses("rank", q, k, {View(bools({7}))}));
  EXPECT_TRUE(fused_refuses("rank", q, k, {View(bools({1, 2, 1, 5, 7}))}));
  EXPECT_TRUE(fused_refuses("BOOL", q, k, {View(filled(DType::f32, {2, 1, 5, 7}))}));
  EXPECT_TRUE(fused_refuses("BOOL", q, k, {View(filled(DType::bf16, {2, 1, 5, 7}))}));
  EXPECT_NO_THROW(fused(q, k, {View(bools({2, 1, 5, 7}))}));
  EXPECT_NO_THROW(fused(q, k, {View(bools({1, 1, 5, 7}))}));
  EXPECT_NO_THROW(fused(q, k, {View(bools({5, 7}))}));
}

TEST_F(AscendAttentionRules, AMaskForASingleQueryIsRefused) {
  EXPECT_TRUE(
      fused_refuses("single query", tokens(1, 1), tokens(1, 7), {View(bools({1, 1, 1, 7}))}));
}

TEST_F(AscendAttentionRules, SparseModesNeedTheirTriangle) {
  for (const std::int64_t mode : {2, 3, 4}) {
    FusedExtras sparse{View(bools({1, 1, 5, 7}))};
    sparse.sparse_mode = mode;
    EXPECT_TRUE(fused_refuses("2048 x 2048", tokens(1, 5), tokens(1, 7), sparse)) << mode;
  }
}

TEST_F(AscendAttentionRules, KeyLengthsMustBeOneOrOneARowAndInRange) {
  const Tensor q = tokens(3, 5), k = tokens(3, 7);
  EXPECT_TRUE(fused_refuses("2 entries", q, k, {kNone, {{3, 4}}}));
  EXPECT_TRUE(fused_refuses("key length", q, k, {kNone, {{3, 4, 8}}}));
  EXPECT_TRUE(fused_refuses("key length", q, k, {kNone, {{3, 4, -1}}}));
  EXPECT_NO_THROW(fused(q, k, {kNone, {{3, 4, 7}}}));
  EXPECT_NO_THROW(fused(q, k, {kNone, {{7}}}));
}

TEST_F(AscendAttentionRules, WhatTheFusedKernelCannotDoIsRefused) {
  const Tensor q = tokens(1, 5), k = tokens(1, 7);
  EXPECT_TRUE(
      fused_refuses("FLOAT", tokens(1, 5, 2, 16, DType::f32), tokens(1, 7, 2, 16, DType::f32)));
  EXPECT_TRUE(fused_refuses("one dtype", q, tokens(1, 7, 2, 16, DType::f32)));
  EXPECT_TRUE(fused_refuses("divide by 16", tokens(1, 5, 2, 24), tokens(1, 7, 2, 24)));
  EXPECT_TRUE(fused_refuses("divide by 16", tokens(1, 2, 1, 528), tokens(1, 2, 1, 528)));
  EXPECT_TRUE(fused_refuses("256 heads", tokens(1, 2, 257), tokens(1, 2, 257)));
  EXPECT_TRUE(fused_refuses("numKeyValueHeads", tokens(1, 5, 3), k));
  EXPECT_TRUE(fused_refuses("numKeyValueHeads", tokens(1, 2, 130), tokens(1, 2, 2)));
  EXPECT_TRUE(
      fused_refuses("dense", View(filled(DType::bf16, {1, 2, 5, 16})).with_axes_swapped(1, 2), k));
}

TEST_F(AscendAttentionRules, LayoutAndHeadsMustBeSpelledOut) {
  FusedExtras spelling;
  spelling.layout = "bsnd";
  EXPECT_TRUE(fused_refuses("inputLayout", tokens(1, 5), tokens(1, 7), spelling));
  FusedExtras heads;
  heads.heads = 4;
  EXPECT_TRUE(fused_refuses("numHeads", tokens(1, 5), tokens(1, 7), heads));
}

TEST_F(AscendAttentionRules, FlashAttentionTakesExactMasksAndFloatStatistics) {
  const Tensor q = tokens(2, 5, 2, 16, DType::f32), k = tokens(2, 7, 2, 16, DType::f32);
  const std::string words = "get unsupported atten_mask shape";
  EXPECT_TRUE(refused(words, [&] { flash(q, k, View(bools({2, 1, 1, 7}))); }));
  EXPECT_TRUE(refused(words, [&] { flash(q, k, View(bools({2, 1, 6, 7}))); }));
  EXPECT_TRUE(refused(words, [&] { flash(q, k, View(bools({2, 1, 5, 8}))); }));
  EXPECT_TRUE(refused("softmaxMax", [&] { flash(q, k, kNone, DType::bf16); }));
  EXPECT_NO_THROW(flash(q, k, View(bools({2, 1, 5, 7}))));
  EXPECT_NO_THROW(flash(q, k, View(bools({2, 2, 5, 7}))));  // a head each, as torch_npu has it
  EXPECT_TRUE(refused("heads", [&] { flash(q, k, View(bools({2, 3, 5, 7}))); }));
}

TEST(AscendChips, AreToldApartByTheirNames) {
  for (const char* chip : {"Ascend910B1", "Ascend910B2C", "Ascend910B4-1", "Ascend910_9391"})
    EXPECT_EQ(generation_of(chip), ChipGeneration::second) << chip;
  for (const char* chip : {"Ascend910B", "Ascend910", "Ascend910A", "Ascend910ProB"})
    EXPECT_EQ(generation_of(chip), ChipGeneration::first) << chip;
  EXPECT_EQ(generation_of("Ascend950PR_9599"), ChipGeneration::third);
  EXPECT_EQ(generation_of("Ascend310P3"), ChipGeneration::other);
  EXPECT_EQ(generation_of(""), ChipGeneration::other);
  EXPECT_TRUE(notes_on("Ascend910B3").empty());
}

/// By construction: the backend has no other way to make a mask.
TEST_F(AscendAttentionRules, ADenseMaskAlwaysHasARowForEachQuery) {
  const DenseMask lengths(*stream, {AttentionMask::Kind::key_lengths, {3, 7}}, 2, 5, 7);
  EXPECT_EQ(lengths.tensor().shape(), (Shape{2, 1, 5, 7}));
  const DenseMask causal(*stream, {AttentionMask::Kind::causal, {}}, 2, 5, 7);
  EXPECT_EQ(causal.tensor().shape(), (Shape{1, 1, 5, 7}));
  const Tensor mask = stream->download(lengths.tensor());
  for (std::int64_t i = 0; i < mask.size(); ++i) {
    const std::int64_t length = i < 35 ? 3 : 7;
    EXPECT_EQ(mask.data<std::uint8_t>()[i], i % 7 >= length ? 1 : 0) << i;  // 1 hides
  }
}

}  // namespace
}  // namespace ernie_image::ascend
