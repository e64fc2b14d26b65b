// One of several words.
#pragma once

#include <array>
#include <string>
#include <utility>

#include "ernie_image/error.h"

namespace ernie_image::card {

/// What `text` stands for. Throws Error(invalid_argument) with the words that there are.
template <typename Value, std::size_t N>
Value option(const char* flag, const std::string& text,
             const std::array<std::pair<const char*, Value>, N>& choices) {
  std::string names;
  for (const auto& [name, value] : choices) {
    if (text == name) return value;
    names += std::string(names.empty() ? "" : ", ") + name;
  }
  throw Error(ErrorKind::invalid_argument,
              std::string(flag) + ": \"" + text + "\" is none of " + names);
}

}  // namespace ernie_image::card
