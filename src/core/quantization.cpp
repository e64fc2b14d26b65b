#include "core/quantization.h"

#include <charconv>
#include <limits>
#include <string>

namespace ernie_image {
namespace {

constexpr std::string_view kEmbeddingTable = "embed_tokens.weight";
constexpr std::string_view kLayers = "layers.";

/// The name within the decoder: a text encoder is a part of a larger model in its checkpoint.
std::string_view within_decoder(std::string_view name) {
  for (const std::string_view prefix : {"language_model.", "model."}) {
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  }
  return name;
}

/// Whether fewer than `count` layers come after that of the weight "layers.<index>.<rest>".
bool is_in_last_layers(const WeightSource& component, std::string_view name, unsigned count) {
  const std::string_view number = name.substr(kLayers.size());
  unsigned index = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), index);
  if (error != std::errc() || index > std::numeric_limits<unsigned>::max() - count) return false;
  const std::string_view rest = number.substr(static_cast<std::size_t>(end - number.data()));
  return !component.contains(std::string(kLayers) + std::to_string(index + count) +
                             std::string(rest));
}

}  // namespace

std::string_view format_name(WeightFormat format) {
  if (!is_packed(format)) return "none";
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

Quantization layer_quantization(const WeightSource& component, std::string_view name,
                                Quantization wanted) {
  constexpr unsigned kPlainLayers = 2;
  const std::string_view part = within_decoder(name);
  if (!part.starts_with(kLayers) && part != "lm_head.weight" && part != kEmbeddingTable)
    return Quantization::none;
  const bool is_sensitive = part.ends_with(".to_v.weight") || part.ends_with(".to_out.0.weight");
  if (!is_sensitive || wanted == Quantization::none) return wanted;
  if (wanted == Quantization::int4) return Quantization::int8;
  return is_in_last_layers(component, part, kPlainLayers) ? Quantization::none : wanted;
}

WeightFormat format_in_file(const WeightSource& component, std::string_view name,
                            Quantization wanted) {
  if (within_decoder(name) == kEmbeddingTable) return WeightFormat::plain;
  return weight_format(layer_quantization(component, name, wanted));
}

}  // namespace ernie_image
