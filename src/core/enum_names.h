// Names of enumerators. The list `names_of` stands beside each enum, in the order of its
// enumerators, which begin at 0 and leave none out.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace ernie_image {

template <class Enum>
concept Named = requires(Enum value) {
  names_of(value).size();
};

template <Named Enum>
std::string name_of(Enum value) {
  return std::string(names_of(value).at(static_cast<std::size_t>(value)));
}

/// The reverse, nothing for an unknown name.
template <Named Enum>
constexpr std::optional<Enum> from_name(std::string_view name) {
  const auto names = names_of(Enum{});
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (name == names[i]) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

/// "fp32|bf16"
template <Named Enum>
std::string all_names(std::string_view separator) {
  std::string all;
  for (const std::string_view name : names_of(Enum{})) {
    if (!all.empty()) all += separator;
    all += name;
  }
  return all;
}

}  // namespace ernie_image
