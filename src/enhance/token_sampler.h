// Choosing the next token from logits, as transformers' generate does.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace ernie_image {

struct SamplingOptions {
  double temperature = 0.6;  ///< 0: greedy
  std::int64_t top_k = 50;   ///< 0: all
  double top_p = 0.95;       ///< 1: all
};

/// The probabilities that the draw is made with: logits / temperature, all but the `top_k` largest
/// dropped (ties with the k-th stay), then the least likely whose probabilities add up to at most 1
/// - top_p (the largest always stays), then softmax. Reference: transformers logits_process.py,
/// TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper.
std::vector<float> sampling_distribution(std::span<const float> logits,
                                         const SamplingOptions& options);

/// Draws token after token. The reference draws from a generator that its user does not seed, so
/// only the distribution is the same; one seed gives one text here.
class TokenSampler {
 public:
  TokenSampler(const SamplingOptions& options, std::uint64_t seed)
      : options_(options), engine_(seed) {}

  /// Greedy: the first of the largest logits.
  std::int32_t next(std::span<const float> logits);

 private:
  SamplingOptions options_;
  std::mt19937_64 engine_;
};

}  // namespace ernie_image
