// Decoding speed of the prompt enhancer's language model, against the memory's.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "bench/bench_command.h"
#include "core/weight.h"
#include "ernie_image/precision.h"
#include "models/ministral.h"

namespace ernie_image {

inline constexpr std::array kQuantizations = {Quantization::none, Quantization::int8,
                                              Quantization::int4};

/// Of a quantised weight in its packed form on average, group scales and sums with it; 2 of
/// another.
double packed_bytes_of_weight(Quantization quantization);

/// What one token reads of a model of so many layers: theirs and those of the output layer.
double token_bytes(const MinistralConfig& config, std::int64_t layers, double bytes_of_weight);

/// One token after another through two layers and the output layer at the released width, whose
/// weights no cache holds.
struct DecodeRate {
  Quantization quantization = Quantization::none;
  double seconds_per_token = 0;  ///< of these layers
  double gb_per_s = 0;           ///< weights read for a token / seconds
  double read_gb_per_s =
      0;  ///< a plain read of as much memory by the same threads, in the same rounds
  double full_model_tokens_per_s = 0;  ///< what 26 layers would give at this rate
};

std::vector<DecodeRate> measure_decode(const BenchOptions& options, WeightSource& weights);

}  // namespace ernie_image
