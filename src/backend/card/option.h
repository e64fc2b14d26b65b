// Options of cards: one of several words.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "ernie_image/error.h"

namespace ernie_image::card {

/// The words of an option and what they stand for, the default first.
template <typename Value, std::size_t N>
using Choices = std::array<std::pair<const char*, Value>, N>;

template <typename Value, std::size_t N>
std::vector<std::string> words_of(const Choices<Value, N>& choices) {
  std::vector<std::string> words;
  for (const auto& [word, value] : choices) words.emplace_back(word);
  return words;
}

/// The word for one of the values.
template <typename Value, std::size_t N>
std::string word_of(Value wanted, const Choices<Value, N>& choices) {
  for (const auto& [word, value] : choices)
    if (value == wanted) return word;
  return "";
}

/// What `text` stands for. Throws Error(invalid_argument) with the words that there are.
template <typename Value, std::size_t N>
Value option(const char* flag, const std::string& text, const Choices<Value, N>& choices) {
  std::string names;
  for (const auto& [name, value] : choices) {
    if (text == name) return value;
    names += std::string(names.empty() ? "" : ", ") + name;
  }
  throw Error(ErrorKind::invalid_argument,
              std::string(flag) + ": \"" + text + "\" is none of " + names);
}

}  // namespace ernie_image::card
