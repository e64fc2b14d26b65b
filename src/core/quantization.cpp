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

Quantization layer_quantization(std::string_view name, Quantization wanted) {
  const std::string_view part = within_decoder(name);
  if (!part.starts_with("layers.") && part != "lm_head.weight" && part != kEmbeddingTable)
    return Quantization::none;
  const bool is_sensitive = part.ends_with(".to_v.weight") || part.ends_with(".to_out.0.weight");
  return is_sensitive && wanted == Quantization::int4 ? Quantization::int8 : wanted;
}

WeightFormat format_in_file(std::string_view name, Quantization wanted) {
  if (within_decoder(name) == kEmbeddingTable) return WeightFormat::plain;
  return weight_format(layer_quantization(name, wanted));
}

}  // namespace ernie_image
