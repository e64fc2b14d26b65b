// Members of JSON objects, with errors that say where and what was expected. A null counts as
// absent, as in the reference's readers.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "ernie_image/error.h"

namespace ernie_image::json_fields {

/// The member, or nothing when absent or when `object` is no object.
inline const nlohmann::json* find(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

[[noreturn]] inline void corrupt(const std::string& where, const std::string& problem) {
  throw Error(ErrorKind::corrupt_file, where + ": " + problem);
}

[[noreturn]] inline void wrong_type(const std::string& where, const char* key,
                                    const char* expected) {
  corrupt(where, std::string("'") + key + "': expected " + expected);
}

inline const nlohmann::json& array(const nlohmann::json& object, const char* key,
                                   const std::string& where) {
  static const nlohmann::json empty = nlohmann::json::array();
  const nlohmann::json* value = find(object, key);
  if (value == nullptr) return empty;
  if (!value->is_array()) wrong_type(where, key, "an array");
  return *value;
}

inline bool boolean(const nlohmann::json& object, const char* key, bool fallback,
                    const std::string& where) {
  const nlohmann::json* value = find(object, key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) wrong_type(where, key, "true or false");
  return value->get<bool>();
}

/// Empty when absent.
inline std::string text(const nlohmann::json& object, const char* key, const std::string& where) {
  const nlohmann::json* value = find(object, key);
  if (value == nullptr) return {};
  if (!value->is_string()) wrong_type(where, key, "a string");
  return value->get<std::string>();
}

}  // namespace ernie_image::json_fields
