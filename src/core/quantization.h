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

/// Whether the linear layer with the weight `name` is quantised: those of the numbered layers of
/// the transformer, text encoder and language model, and the output layer of a language model, even
/// where that is the embedding table. Embedders, time, modulation and final layers are few and
/// sensitive, and stay as the file has them.
bool is_quantized_layer(std::string_view name);

/// Whether a file may hold the weight `name` packed: as above, but for the embedding table, whose
/// rows are read one by one.
bool is_packed_in_file(std::string_view name);

}  // namespace ernie_image
