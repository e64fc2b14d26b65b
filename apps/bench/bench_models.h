// Whole models with random weights: a step of the transformer, the decoder and encoder of pictures,
// and a token of the prompt enhancer's language model.
#pragma once

#include <array>
#include <cstdint>

#include "bench/meter.h"
#include "core/weight.h"
#include "models/ministral.h"
#include "models/transformer.h"
#include "models/vae_decoder.h"

namespace ernie_image {

// Widths of the released transformer.
constexpr std::int64_t kHidden = 4096;
constexpr std::int64_t kFeedForward = 12288;
constexpr std::int64_t kHeads = 32;
constexpr std::int64_t kHeadDim = kHidden / kHeads;

inline constexpr std::array kQuantizations = {Quantization::none, Quantization::int8,
                                              Quantization::int4};

/// Of the released transformer: those of a picture `side_px` square and 32 of text.
constexpr std::int64_t transformer_tokens(std::int64_t side_px) {
  return (side_px / 16) * (side_px / 16) + 32;
}

/// Multiplications of a transformer block: its seven matrices, scores and what they weigh.
constexpr std::int64_t block_products(std::int64_t tokens, std::int64_t hidden,
                                      std::int64_t feed_forward) {
  return tokens * (4 * hidden * hidden + 3 * hidden * feed_forward) + 2 * tokens * tokens * hidden;
}

/// On average, as the device keeps it, with the group scales and sums of packed records.
double bytes_of_weight(const Backend& ops, Quantization quantization);

struct BenchModels {
  TransformerConfig transformer;
  std::int64_t text_tokens = 32;
  VaeConfig vae;
  MinistralConfig language;  ///< of a few layers, which stand for all
  std::int64_t language_layers = 26;
  std::int64_t context_tokens = 256;  ///< what the instructions and an answer take
  DType dtype = DType::f32;           ///< of activations
};
BenchModels released_models();

// Backend and weights must outlive the samples.

/// One denoising step of a picture `side_px` square, as `Backend::repeat` does it from the third
/// on.
BenchSample step_sample(Backend& ops, WeightSource& weights, const BenchModels& models,
                        std::int64_t side_px, Quantization quantization);

/// The whole decoder in one piece.
BenchSample picture_sample(Backend& ops, WeightSource& weights, const BenchModels& models,
                           std::int64_t side_px);

/// The whole encoder.
BenchSample encoding_sample(Backend& ops, WeightSource& weights, const BenchModels& models,
                            std::int64_t side_px);

/// One token after others, through the layers and the output layer, whose weights no cache holds.
BenchSample token_sample(Backend& ops, WeightSource& weights, const BenchModels& models,
                         Quantization quantization);

}  // namespace ernie_image
