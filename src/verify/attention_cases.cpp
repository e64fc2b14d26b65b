#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "verify/conformance.h"
#include "verify/oracle.h"

namespace ernie_image::verify {
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
/// Tensor cores take probabilities in bf16, as the reference does. Rounding by up to 2^-8 is an
/// nMSE of 2.5e-6, on average over mantissas, for them and for the result each; equal probabilities
/// are all wrong alike, by up to 2^-8 or 1.5e-5.
constexpr Tolerance kTolerance = {
    .f32 = 2e-6f, .bf16_share = 0.01, .bf16_steps = 0.5f, .bf16_nmse = 2e-5};

void check(Verifier& v, const Sizes& s, const AttentionMask& mask = {}) {
  const Tensor q = v.random({s.batch, s.queries, s.heads, s.head_dim}, 2);
  const Tensor k = v.random({s.batch, s.keys, s.kv_heads, s.head_dim}, 2);
  const Tensor values = v.random({s.batch, s.keys, s.kv_heads, s.head_dim});
  const float scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
  v.expect_close(v.ops().attention(v.up(q), v.up(k), v.up(values), mask, scale),
                 oracle::attention(q, k, values, mask, scale), kTolerance);
}

const AttentionMask kCausal = {AttentionMask::Kind::causal, {}};

AttentionMask lengths(std::vector<std::int64_t> values) {
  return {AttentionMask::Kind::key_lengths, std::move(values)};
}

void matches_at_every_head_width(Verifier& v) {
  for (const std::int64_t head_dim : {1, 5, 16, 24, 32, 64, 100, 128, 512}) {
    check(v, {1, 19, 37, 2, 2, head_dim});
  }
}

void matches_around_the_block_sizes(Verifier& v) {
  for (const std::int64_t queries : {1, 8, 23, 24, 25, 47, 48, 49, 97}) {
    for (const std::int64_t keys : {1, 7, 127, 128, 129, 260}) {
      check(v, {1, queries, keys, 1, 1, 16});
    }
  }
}

void matches_over_many_blocks(Verifier& v) { check(v, {1, 400, 401, 2, 2, 128}); }

void matches_with_the_heads_of_the_model(Verifier& v) {
  check(v, {1, 20, 70, 32, 32, 128});
  check(v, {1, 70, 70, 32, 8, 128}, kCausal);
}

void shares_keys_among_the_queries_of_a_group(Verifier& v) {
  check(v, {2, 9, 30, 8, 2, 32});
  check(v, {1, 1, 133, 4, 1, 128});
  check(v, {1, 50, 50, 6, 2, 24}, kCausal);
}

void causal_mask_hides_later_keys(Verifier& v) {
  for (const std::int64_t size : {1, 2, 23, 130, 300}) check(v, {1, size, size, 2, 2, 32}, kCausal);
}

void causal_mask_counts_from_the_end_of_the_keys(Verifier& v) {
  check(v, {2, 1, 40, 2, 1, 32}, kCausal);
  check(v, {1, 33, 290, 2, 1, 32}, kCausal);
}

void key_lengths_hide_padding_of_each_batch_row(Verifier& v) {
  check(v, {3, 40, 300, 2, 2, 32}, lengths({300, 1, 129}));
}

void padded_keys_are_not_read(Verifier& v) {
  const Tensor q = v.random({1, 5, 1, 16});
  Tensor k = v.random({1, 10, 1, 16});
  Tensor values = v.random({1, 10, 1, 16});
  const Tensor expected = oracle::attention(q, k, values, lengths({7}), 0.25);
  // Values that would outweigh all others if a single one of them were let in.
  const Tensor huge = v.constant({10, 16}, 1e4f);
  for (const Tensor& t : {k, values}) {
    const std::size_t begin = t.size_bytes() / 10 * 7;
    std::copy_n(huge.bytes(), t.size_bytes() - begin, t.bytes() + begin);
  }
  v.expect_close(v.ops().attention(v.up(q), v.up(k), v.up(values), lengths({7}), 0.25f), expected,
                 kTolerance);
}

/// One key's score is far above the others': the result is that key's value. Differences of scores
/// of 1e6 and more must not become NaN, whichever key comes first.
void result_does_not_change_with_huge_scores(Verifier& v) {
  for (const std::int64_t winner : {0, 150, 299}) {
    const Tensor q = v.constant({1, 3, 1, 16}, 1e5f);
    const Tensor keys = Tensor::host(DType::f32, {1, 300, 1, 16});
    std::ranges::fill(keys.span<float>(), -1e5f);
    std::fill_n(keys.data<float>() + winner * 16, 16, 1e5f);
    const Tensor k = round_to(keys, v.dtype());
    const Tensor values = v.random({1, 300, 1, 16});
    v.expect_close(v.ops().attention(v.up(q), v.up(k), v.up(values), {}, 1.0f),
                   oracle::attention(q, k, values, {}, 1.0), kExact);
  }
}

void equal_scores_give_the_mean(Verifier& v) {
  const Tensor q = v.constant({1, 2, 1, 16}, 0);
  const Tensor k = v.random({1, 200, 1, 16});
  const Tensor values = v.random({1, 200, 1, 16});
  v.expect_close(v.ops().attention(v.up(q), v.up(k), v.up(values), {}, 1.0f),
                 oracle::attention(q, k, values, {}, 1.0), kTolerance);
}

constexpr std::array kCases = {
    ConformanceCase{"attention", "MatchesAtEveryHeadWidth", matches_at_every_head_width},
    ConformanceCase{"attention", "MatchesAroundTheBlockSizes", matches_around_the_block_sizes},
    ConformanceCase{"attention", "MatchesOverManyBlocks", matches_over_many_blocks},
    ConformanceCase{"attention", "MatchesWithTheHeadsOfTheModel",
                    matches_with_the_heads_of_the_model},
    ConformanceCase{"attention", "SharesKeysAmongTheQueriesOfAGroup",
                    shares_keys_among_the_queries_of_a_group},
    ConformanceCase{"attention", "CausalMaskHidesLaterKeys", causal_mask_hides_later_keys},
    ConformanceCase{"attention", "CausalMaskCountsFromTheEndOfTheKeys",
                    causal_mask_counts_from_the_end_of_the_keys},
    ConformanceCase{"attention", "KeyLengthsHidePaddingOfEachBatchRow",
                    key_lengths_hide_padding_of_each_batch_row},
    ConformanceCase{"attention", "PaddedKeysDoNotCount", padded_keys_are_not_read},
    ConformanceCase{"attention", "ResultDoesNotChangeWithHugeScores",
                    result_does_not_change_with_huge_scores},
    ConformanceCase{"attention", "EqualScoresGiveTheMean", equal_scores_give_the_mean},
};

}  // namespace

std::span<const ConformanceCase> attention_cases() { return kCases; }

}  // namespace ernie_image::verify
