// The numbers of torch.Generator("cpu") and torch.randn, which the reference draws its noise from.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <span>

#include "ernie_image/precision.h"

namespace ernie_image {

class TorchGenerator {
 public:
  /// manual_seed(seed): only the low 32 bits count.
  explicit TorchGenerator(std::uint64_t seed);

  /// Fills `values` as one torch.randn call of that many elements in `precision` does; successive
  /// calls continue the stream. bf16 values come as floats that bf16 holds exactly. Equal to the
  /// reference within the last bits of log, sin and cos (2e-6).
  void randn(std::span<float> values, Precision precision);

 private:
  float uniform();          // 24 bits, in [0, 1)
  double uniform_double();  // 53 bits, in [0, 1)
  double scalar_normal();
  void fill_small(std::span<float> values);
  void fill_blocks(std::span<float> values, Precision precision);
  void fill_uniform(std::span<float> values);

  std::mt19937 engine_;
  std::optional<double> cached_normal_;  // the second of a pair, for the next small draw
};

}  // namespace ernie_image
