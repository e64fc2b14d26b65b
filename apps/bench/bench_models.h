// Whole models on a device, with random weights: a step of the transformer, the decoder of
// pictures, and a token of the prompt enhancer's language model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "core/weight.h"
#include "models/ministral.h"
#include "models/transformer.h"
#include "models/vae_decoder.h"

namespace ernie_image {

struct BenchModels {
  TransformerConfig transformer;
  std::int64_t text_tokens = 32;
  VaeConfig vae;
  MinistralConfig language;  ///< of a few layers, which stand for all
  std::int64_t language_layers = 26;
  std::int64_t context_tokens = 256;  ///< what the instructions and an answer take
};
BenchModels released_models();

struct ModelRate {
  std::string op;
  Shape shape;  ///< pixels of the picture, or tokens before the one that is measured
  Quantization quantization = Quantization::none;
  double seconds = 0;                ///< the fastest of several runs, by the device's clock
  std::int64_t products = 0;         ///< of the large matrices, attention and convolutions
  double weight_bytes = 0;           ///< that one run reads, where that is what takes the time
  double whole_runs_per_second = 0;  ///< of all `language_layers`
  std::string problem = {};          ///< why there is no number: memory
};

/// One denoising step of a picture `side_px` square, as `Backend::repeat` does it from the third
/// on.
ModelRate measure_step(Backend& ops, WeightSource& weights, const BenchModels& models,
                       std::int64_t side_px, Quantization quantization);

/// The whole decoder in one piece.
ModelRate measure_picture(Backend& ops, WeightSource& weights, const BenchModels& models,
                          std::int64_t side_px);

/// The whole encoder in one piece.
ModelRate measure_encoding(Backend& ops, WeightSource& weights, const BenchModels& models,
                           std::int64_t side_px);

/// One token after others, through the layers and the output layer, whose weights no cache holds.
ModelRate measure_token(Backend& ops, WeightSource& weights, const BenchModels& models,
                        Quantization quantization);

}  // namespace ernie_image
