// Which weights of the networks are quantised: the one place that says so.
#pragma once

#include "core/quantization.h"

namespace ernie_image {

/// Quantised are the linear weights of the numbered layers of the transformer, text encoder and
/// language model, and the output layer of a language model, even where that is the embedding
/// table. Embedders, time, modulation and final layers are few and sensitive, and stay as the file
/// has them. So are the values and the output of the transformer's attention, a seventh of a layer
/// that brings half of its error: they get 8 bits in place of 4, and in place of 8 they stay as
/// they are in the last two layers, where errors count most (docs/numerics.md).
const QuantizedWeights& quantized_weights();

}  // namespace ernie_image
