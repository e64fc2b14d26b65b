// The widths of the released transformer, which the benchmarks measure at.
#pragma once

#include <cstdint>

namespace ernie_image {

constexpr std::int64_t kHidden = 4096;
constexpr std::int64_t kFeedForward = 12288;
constexpr std::int64_t kHeads = 32;
constexpr std::int64_t kHeadDim = kHidden / kHeads;

/// Multiplications of a transformer block: its seven matrices, scores and what they weigh.
constexpr std::int64_t block_products(std::int64_t tokens, std::int64_t hidden,
                                      std::int64_t feed_forward) {
  return tokens * (4 * hidden * hidden + 3 * hidden * feed_forward) + 2 * tokens * tokens * hidden;
}

}  // namespace ernie_image
