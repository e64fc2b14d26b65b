#include "core/quantization.h"

namespace ernie_image {
namespace {

constexpr std::string_view kEmbeddingTable = "embed_tokens.weight";

/// The name within the decoder: a text encoder is a part of a larger model in its checkpoint.
std::string_view within_decoder(std::string_view name) {
  for (const std::string_view prefix : {"language_model.", "model."}) {
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  }
  return name;
}

}  // namespace

std::string_view format_name(WeightFormat format) {
  if (format == WeightFormat::plain) return "none";
  return format == WeightFormat::packed_int8 ? "int8" : "int4";
}

std::optional<WeightFormat> packed_format_from_name(std::string_view name) {
  for (const WeightFormat format : {WeightFormat::packed_int8, WeightFormat::packed_int4}) {
    if (name == format_name(format)) return format;
  }
  return std::nullopt;
}

WeightFormat weight_format(Quantization quantization) {
  if (quantization == Quantization::none) return WeightFormat::plain;
  return quantization == Quantization::int8 ? WeightFormat::packed_int8 : WeightFormat::packed_int4;
}

bool is_quantized_layer(std::string_view name) {
  const std::string_view part = within_decoder(name);
  return part.starts_with("layers.") || part == "lm_head.weight" || part == kEmbeddingTable;
}

bool is_packed_in_file(std::string_view name) {
  return is_quantized_layer(name) && within_decoder(name) != kEmbeddingTable;
}

}  // namespace ernie_image
