// Which weights are quantised by a model's rules, and what the packed formats are called. Loading
// with `--quant` and writing with `ernie-image quantize` both ask here.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "core/weight.h"
#include "ernie_image/precision.h"

namespace ernie_image {

/// "int8", "int4"; "none" for a plain weight.
std::string_view format_name(WeightFormat format);

/// The reverse for packed formats; nothing for any other name.
std::optional<WeightFormat> packed_format_from_name(std::string_view name);

WeightFormat weight_format(Quantization quantization);

/// What networks say of themselves, in the words of their checkpoints (models/quantized_weights.h).
struct QuantizedWeights {
  /// What may stand ahead of any name where a network is a part of a larger model; in this order.
  std::vector<std::string_view> prefixes;
  /// Ahead of a layer's number. The linear weights of layers are quantised.
  std::string_view layers;
  /// So are these, which are in no layer.
  std::vector<std::string_view> beyond_layers;
  /// Endings of those in layers that get 8 bits in place of 4, and in place of 8 stay as they are
  /// in the last `plain_layers` layers.
  std::vector<std::string_view> sensitive;
  unsigned plain_layers = 0;
  /// A table of which files keep the rows plain: they are read one by one.
  std::string_view table;
};

/// What the weight `name` of a linear layer of `component` becomes under `--quant` `wanted`.
Quantization layer_quantization(const QuantizedWeights& rules, const WeightSource& component,
                                std::string_view name, Quantization wanted);

/// How a file holds the weight `name`: as above, but for the table.
WeightFormat format_in_file(const QuantizedWeights& rules, const WeightSource& component,
                            std::string_view name, Quantization wanted);

}  // namespace ernie_image
