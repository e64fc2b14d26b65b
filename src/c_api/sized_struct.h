// Structs of the C API, whose callers may be older or newer than the library.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "ernie_image/error.h"

namespace ernie_image::c_api {

/// The size that the caller says a struct has; `what` is its name in messages.
template <class Struct>
std::size_t struct_size(const Struct* given, const char* what) {
  constexpr std::size_t kLargest = 1 << 16;
  if (given == nullptr) {
    throw Error(ErrorKind::invalid_argument, std::string("the ") + what + " is NULL");
  }
  const std::size_t size = given->struct_size;
  // No struct ends in the midst of a member.
  if (size >= sizeof size && size <= kLargest && size % alignof(Struct) == 0) return size;
  throw Error(ErrorKind::invalid_argument, std::string("the struct_size of the ") + what + " is " +
                                               std::to_string(size) +
                                               "; set it to sizeof of the struct");
}

/// What is read of a caller's struct.
template <class Struct>
Struct read_struct(const Struct* given, const char* what) {
  Struct copy;
  std::memset(&copy, 0, sizeof copy);
  const std::size_t size = struct_size(given, what);
  const auto* const bytes = reinterpret_cast<const unsigned char*>(given);
  if (std::any_of(bytes + std::min(size, sizeof copy), bytes + size,
                  [](unsigned char byte) { return byte != 0; })) {
    throw Error(ErrorKind::unsupported, std::string("the ") + what +
                                            " sets members that this version of the library does "
                                            "not know; update it");
  }
  std::memcpy(static_cast<void*>(&copy), given, std::min(size, sizeof copy));
  return copy;
}

/// Writes what the caller's struct has room for, but for its size.
template <class Struct>
void write_struct(const Struct& filled, Struct* target, const char* what) {
  const std::size_t size = std::min(struct_size(target, what), sizeof filled);
  std::memcpy(reinterpret_cast<unsigned char*>(target) + sizeof size,
              reinterpret_cast<const unsigned char*>(&filled) + sizeof size, size - sizeof size);
}

inline std::string text_or(const char* text, const char* fallback = "") {
  return text == nullptr ? fallback : text;
}

/// `count` texts, none of them NULL. `most`: more than any call can mean.
inline std::vector<std::string> read_texts(const char* const* texts, std::size_t count,
                                           std::size_t most, const std::string& what) {
  if (count > most) {
    throw Error(ErrorKind::invalid_argument, std::to_string(count) + " " + what + "; at most " +
                                                 std::to_string(most) + " are possible");
  }
  std::vector<std::string> read;
  for (std::size_t i = 0; i < count; ++i) {
    if (texts == nullptr || texts[i] == nullptr) {
      throw Error(ErrorKind::invalid_argument,
                  "number " + std::to_string(i) + " of the " + what + " is NULL");
    }
    read.emplace_back(texts[i]);
  }
  return read;
}

/// Numbers of a caller's array; NULL is none.
template <class T>
std::vector<T> read_numbers(const T* values, std::size_t count, const std::string& what) {
  if (count == 0) return {};
  if (values == nullptr) {
    throw Error(ErrorKind::invalid_argument,
                "there are to be " + std::to_string(count) + " " + what + ", and they are NULL");
  }
  return {values, values + count};
}

/// A name of an enumerator, or `fallback` for NULL.
template <class Enum, class FromName>
Enum read_name(const char* name, Enum fallback, const char* what, const std::string& names,
               FromName from) {
  if (name == nullptr) return fallback;
  const auto value = from(name);
  if (value.has_value()) return *value;
  throw Error(ErrorKind::invalid_argument,
              std::string("the ") + what + " \"" + name + "\" is none of " + names);
}

inline int read_count(int value, int most, const char* what) {
  if (value >= 0 && value <= most) return value;
  throw Error(ErrorKind::invalid_argument, std::string(what) + " must be 0 to " +
                                               std::to_string(most) + ", found " +
                                               std::to_string(value));
}

}  // namespace ernie_image::c_api
