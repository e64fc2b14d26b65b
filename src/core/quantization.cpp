#include "core/quantization.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <string>

namespace ernie_image {
namespace {

/// The name within the network.
std::string_view within_network(const QuantizedWeights& rules, std::string_view name) {
  for (const std::string_view prefix : rules.prefixes) {
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  }
  return name;
}

/// Whether fewer than `rules.plain_layers` layers come after that of the weight
/// "layers.<index>.<rest>".
bool is_in_last_layers(const QuantizedWeights& rules, const WeightSource& component,
                       std::string_view name) {
  const std::string_view number = name.substr(rules.layers.size());
  unsigned index = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), index);
  if (error != std::errc() || index > std::numeric_limits<unsigned>::max() - rules.plain_layers)
    return false;
  const std::string_view rest = number.substr(static_cast<std::size_t>(end - number.data()));
  return !component.contains(std::string(rules.layers) +
                             std::to_string(index + rules.plain_layers) + std::string(rest));
}

bool contains(const std::vector<std::string_view>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
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

Quantization layer_quantization(const QuantizedWeights& rules, const WeightSource& component,
                                std::string_view name, Quantization wanted) {
  const std::string_view part = within_network(rules, name);
  if (!part.starts_with(rules.layers) && !contains(rules.beyond_layers, part))
    return Quantization::none;
  const bool is_sensitive = std::ranges::any_of(
      rules.sensitive, [&](std::string_view ending) { return part.ends_with(ending); });
  if (!is_sensitive || wanted == Quantization::none) return wanted;
  if (wanted == Quantization::int4) return Quantization::int8;
  return is_in_last_layers(rules, component, part) ? Quantization::none : wanted;
}

WeightFormat format_in_file(const QuantizedWeights& rules, const WeightSource& component,
                            std::string_view name, Quantization wanted) {
  if (within_network(rules, name) == rules.table) return WeightFormat::plain;
  return weight_format(layer_quantization(rules, component, name, wanted));
}

}  // namespace ernie_image
