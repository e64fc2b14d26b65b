#include "enhance/token_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace ernie_image {
namespace {

constexpr float kDropped = -std::numeric_limits<float>::infinity();

std::vector<float> softmax(std::span<const float> logits) {
  const float largest = *std::ranges::max_element(logits);
  std::vector<float> probabilities(logits.size());
  std::ranges::transform(logits, probabilities.begin(),
                         [largest](float logit) { return std::exp(logit - largest); });
  const auto sum =
      static_cast<float>(std::accumulate(probabilities.begin(), probabilities.end(), 0.0));
  for (float& probability : probabilities) probability /= sum;
  return probabilities;
}

void keep_top_k(std::vector<float>& logits, std::int64_t k) {
  if (k <= 0 || k >= std::ssize(logits)) return;
  std::vector<float> sorted = logits;
  std::ranges::nth_element(sorted, sorted.begin() + (k - 1), std::greater<>());
  const float smallest_kept = sorted[static_cast<std::size_t>(k - 1)];
  for (float& logit : logits) {
    if (logit < smallest_kept) logit = kDropped;
  }
}

void keep_top_p(std::vector<float>& logits, double p) {
  if (p >= 1.0) return;
  std::vector<std::size_t> order;  // of those still kept, ascending
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] != kDropped) order.push_back(i);
  }
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return logits[i]; });
  const std::vector<float> probabilities = softmax(logits);
  const auto limit = static_cast<float>(1.0 - p);
  double cumulative =
      0;  // the reference's running sum is a double too, rounded to float at each step
  for (std::size_t i = 0; i + 1 < order.size(); ++i) {
    cumulative += probabilities[order[i]];
    if (static_cast<float>(cumulative) > limit) break;
    logits[order[i]] = kDropped;
  }
}

}  // namespace

std::vector<float> sampling_distribution(std::span<const float> logits,
                                         const SamplingOptions& options) {
  std::vector<float> kept(logits.begin(), logits.end());
  for (float& logit : kept) logit /= static_cast<float>(options.temperature);
  keep_top_k(kept, options.top_k);
  keep_top_p(kept, options.top_p);
  return softmax(kept);
}

std::int32_t TokenSampler::next(std::span<const float> logits) {
  if (options_.temperature == 0) {
    return static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin());
  }
  const std::vector<float> probabilities = sampling_distribution(logits, options_);
  double remaining = static_cast<double>(engine_() >> 11) * 0x1.0p-53;  // uniform in [0, 1)
  std::int32_t chosen = 0;
  for (std::size_t i = 0; i < probabilities.size(); ++i) {
    if (probabilities[i] == 0) continue;
    chosen = static_cast<std::int32_t>(i);
    remaining -= probabilities[i];
    if (remaining < 0) break;
  }
  return chosen;
}

}  // namespace ernie_image
