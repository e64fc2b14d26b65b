// The widths of the released transformer, which the benchmarks measure at.
#pragma once

#include <cstdint>

namespace ernie_image {

constexpr std::int64_t kHidden = 4096;
constexpr std::int64_t kFeedForward = 12288;
constexpr std::int64_t kHeads = 32;
constexpr std::int64_t kHeadDim = kHidden / kHeads;

}  // namespace ernie_image
