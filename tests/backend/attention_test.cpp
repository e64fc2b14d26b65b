#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "op_test.h"
#include "oracle.h"

namespace ernie_image {
namespace {

struct Sizes {
  std::int64_t batch;
  std::int64_t queries;
  std::int64_t keys;
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
};

/// f32: sums of a few hundred products, in another order. bf16: outputs are means of many values
/// and so smaller than what their error is relative to, hence more of them change their step.
constexpr Tolerance kTolerance = {.f32 = 2e-6f, .bf16_share = 0.01, .bf16_steps = 0.5f};

class Attention : public OpTest {
 protected:
  void check(const Sizes& s, const AttentionMask& mask = {}, float magnitude = 2.0f) {
    const Tensor q = random({s.batch, s.queries, s.heads, s.head_dim}, magnitude);
    const Tensor k = random({s.batch, s.keys, s.kv_heads, s.head_dim}, magnitude);
    const Tensor v = random({s.batch, s.keys, s.kv_heads, s.head_dim});
    const float scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
    SCOPED_TRACE(testing::Message()
                 << s.queries << " queries, " << s.keys << " keys, D " << s.head_dim);
    expect_close(ops().attention(ops().upload(q), ops().upload(k), ops().upload(v), mask, scale),
                 oracle::attention(q, k, v, mask, scale), kTolerance);
  }
};

const AttentionMask kCausal = {AttentionMask::Kind::causal, {}};

AttentionMask lengths(std::vector<std::int64_t> values) {
  return {AttentionMask::Kind::key_lengths, std::move(values)};
}

TEST_P(Attention, MatchesAtEveryHeadWidth) {
  for (const std::int64_t head_dim : {1, 5, 16, 24, 32, 64, 100, 128, 512}) {
    check({1, 19, 37, 2, 2, head_dim});
  }
}

TEST_P(Attention, MatchesAroundTheBlockSizes) {
  for (const std::int64_t queries : {1, 8, 23, 24, 25, 47, 48, 49, 97}) {
    for (const std::int64_t keys : {1, 7, 127, 128, 129, 260}) check({1, queries, keys, 1, 1, 16});
  }
}

TEST_P(Attention, MatchesOverManyBlocks) { check({1, 400, 401, 2, 2, 128}); }

TEST_P(Attention, SharesKeysAmongTheQueriesOfAGroup) {
  check({2, 9, 30, 8, 2, 32});
  check({1, 1, 133, 4, 1, 128});
  check({1, 50, 50, 6, 2, 24}, kCausal);
}

TEST_P(Attention, CausalMaskHidesLaterKeys) {
  for (const std::int64_t size : {1, 2, 23, 130, 300}) check({1, size, size, 2, 2, 32}, kCausal);
}

TEST_P(Attention, CausalMaskCountsFromTheEndOfTheKeys) {
  check({2, 1, 40, 2, 1, 32}, kCausal);
  check({1, 33, 290, 2, 1, 32}, kCausal);
}

TEST_P(Attention, KeyLengthsHidePaddingOfEachBatchRow) {
  check({3, 40, 300, 2, 2, 32}, lengths({300, 1, 129}));
}

TEST_P(Attention, PaddedKeysAreNotRead) {
  const Tensor q = random({1, 5, 1, 16});
  Tensor k = random({1, 10, 1, 16});
  Tensor v = random({1, 10, 1, 16});
  const Tensor expected = oracle::attention(q, k, v, lengths({7}), 0.25);
  // All bits set is a NaN in both dtypes: one of them read would show.
  for (const Tensor& t : {k, v}) {
    const std::size_t begin = t.size_bytes() / 10 * 7;
    std::fill(t.bytes() + begin, t.bytes() + t.size_bytes(), std::byte{0xff});
  }
  expect_close(
      ops().attention(ops().upload(q), ops().upload(k), ops().upload(v), lengths({7}), 0.25f),
      expected, kTolerance);
}

TEST_P(Attention, ResultDoesNotChangeWithHugeScores) {
  // One key's score is far above the others': the result is that key's value. Differences of
  // scores of 1e6 and more must not become NaN, whichever key comes first.
  for (const std::int64_t winner : {0, 150, 299}) {
    Tensor q = Tensor::host(DType::f32, {1, 3, 1, 8});
    Tensor k = Tensor::host(DType::f32, {1, 300, 1, 8});
    for (float& value : q.span<float>()) value = 1e5f;
    for (float& value : k.span<float>()) value = -1e5f;
    std::fill_n(k.data<float>() + winner * 8, 8, 1e5f);
    const Tensor v = random({1, 300, 1, 8});
    const Tensor y = ops().attention(ops().upload(round_to(q, dtype())),
                                     ops().upload(round_to(k, dtype())), ops().upload(v), {}, 1.0f);
    const Tensor row = v.reshaped({300, 8}).slice(winner, 1).reshaped({1, 1, 8});
    const Tensor actual = ops().download(y);
    for (int position = 0; position < 3; ++position) {
      expect_close(ops().upload(actual.reshaped({3, 1, 8}).slice(position, 1)), row, kExact);
    }
  }
}

TEST_P(Attention, EqualScoresGiveTheMean) {
  const Tensor q = Tensor::host(dtype(), {1, 2, 1, 8});
  const Tensor k = random({1, 200, 1, 8});
  const Tensor v = random({1, 200, 1, 8});
  const AttentionMask none;
  expect_close(ops().attention(ops().upload(q), ops().upload(k), ops().upload(v), none, 1.0f),
               oracle::attention(q, k, v, none, 1.0), kTolerance);
}

ERNIE_IMAGE_INSTANTIATE_OP_TEST(Attention);

}  // namespace
}  // namespace ernie_image
