// Which weights are quantised, and what the packed formats are called. The one place that says so:
// loading with `--quant` and writing with `ernie-image quantize` both ask here.
#pragma once

#include <optional>
#include <string_view>

#include "core/weight.h"
#include "ernie_image/precision.h"

namespace ernie_image {

/// "int8", "int4"; "none" for a plain weight.
std::string_view format_name(WeightFormat format);

/// The reverse for packed formats; nothing for any other name.
std::optional<WeightFormat> packed_format_from_name(std::string_view name);

WeightFormat weight_format(Quantization quantization);

/// What the weight `name` of a linear layer of `component` becomes under `--quant` `wanted`.
/// Quantised are those of the numbered layers of the transformer, text encoder and language model,
/// and the output layer of a language model, even where that is the embedding table. Embedders,
/// time, modulation and final layers are few and sensitive, and stay as the file has them. So are
/// the values and the output of the transformer's attention, a seventh of a layer that brings half
/// of its error: they get 8 bits in place of 4, and in place of 8 they stay as they are in the last
/// two layers, where errors count most (docs/numerics.md).
Quantization layer_quantization(const WeightSource& component, std::string_view name,
                                Quantization wanted);

/// How a file holds the weight `name`: as above, but for the embedding table, whose rows are read
/// one by one.
WeightFormat format_in_file(const WeightSource& component, std::string_view name,
                            Quantization wanted);

}  // namespace ernie_image
