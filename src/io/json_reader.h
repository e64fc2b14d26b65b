// Typed reading of JSON objects that nobody has checked: configuration files, tokenizers, records
// of pictures, stored jobs, bodies of HTTP requests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/enum_names.h"
#include "ernie_image/error.h"

namespace ernie_image {

/// A member that is missing, of another type or out of range. The message names place, key, what
/// was found and what was expected; whoever sent the text itself is told the last two parts.
class JsonError : public Error {
 public:
  JsonError(const std::string& where, std::string key, const nlohmann::json* found,
            std::string expected);

  const std::string& key() const noexcept { return key_; }
  /// "a whole number from 1 to 10"
  const std::string& expected() const noexcept { return expected_; }

 private:
  std::string key_;
  std::string expected_;
};

/// One JSON object and where it came from. A null value counts as an absent key. Each getter comes
/// twice: with what to use when the key is absent, and without, when its absence is an error. All
/// throw JsonError, which is Error(corrupt_file).
class JsonReader {
 public:
  /// Parses a file. Throws Error(not_found | corrupt_file): not JSON, not an object, a key twice,
  /// nested deeper than 64, larger than 64 MiB.
  static JsonReader open(const std::string& path);
  /// The same for text that came from `where`.
  static JsonReader parse(std::string_view text, const std::string& where);
  /// Throws Error(corrupt_file) unless `value` is an object.
  JsonReader(nlohmann::json value, std::string where);

  bool has(const std::string& key) const { return find(key) != nullptr; }

  /// Whole numbers within [min, max]. 8.0 is one: languages without integers write that.
  std::int64_t integer(const std::string& key, std::int64_t min, std::int64_t max) const;
  std::int64_t integer(const std::string& key, std::int64_t fallback, std::int64_t min,
                       std::int64_t max) const;
  int small(const std::string& key, int min, int max) const;
  /// From 0 to 2^64 - 1.
  std::uint64_t seed(const std::string& key) const;

  /// Finite; within [min, max].
  double number(const std::string& key) const;
  double number(const std::string& key, double fallback) const;
  double number(const std::string& key, double min, double max) const;

  bool boolean(const std::string& key) const;
  bool boolean(const std::string& key, bool fallback) const;

  std::string text(const std::string& key) const;
  std::string text(const std::string& key, const std::string& fallback) const;
  std::string limited_text(const std::string& key, std::size_t max_bytes) const;
  /// One of `choices`; `fallback` need not be.
  std::string choice(const std::string& key, std::string_view fallback,
                     std::initializer_list<std::string_view> choices) const;
  /// An enumerator by its name.
  template <Named Enum>
  Enum choice(const std::string& key) const {
    const std::optional<Enum> value = from_name<Enum>(text(key));
    if (!value) fail(key, "one of " + all_names<Enum>(", "));
    return *value;
  }
  template <Named Enum>
  Enum choice(const std::string& key, Enum fallback) const {
    return has(key) ? choice<Enum>(key) : fallback;
  }

  std::vector<std::int64_t> integers(const std::string& key,
                                     const std::vector<std::int64_t>& fallback, std::int64_t min,
                                     std::int64_t max) const;
  std::vector<std::string> texts(const std::string& key, std::size_t max_count) const;
  std::vector<std::uint64_t> seeds(const std::string& key, std::size_t max_count) const;

  /// A nested object, or nothing when absent.
  std::optional<JsonReader> object(const std::string& key) const;
  JsonReader required_object(const std::string& key) const;
  /// A list of objects; an absent one is empty.
  std::vector<JsonReader> objects(const std::string& key, std::size_t max_count = SIZE_MAX) const;

  /// The first key that is not among `known`.
  std::optional<std::string> unknown_key(const std::vector<std::string_view>& known) const;

  /// The member as it is; null when absent.
  const nlohmann::json* find(const std::string& key) const;
  const nlohmann::json& value() const { return *json_; }
  /// "folder/config.json" or "folder/config.json: text_config"
  const std::string& where() const { return where_; }

  /// Throws JsonError for that member.
  [[noreturn]] void fail(const std::string& key, const std::string& expected) const;

 private:
  JsonReader(std::shared_ptr<const nlohmann::json> json, std::string where);
  const nlohmann::json& require(const std::string& key, const std::string& expected) const;
  const nlohmann::json& list(const std::string& key, const std::string& of,
                             std::size_t max_count) const;
  JsonReader nested(const std::string& key, const nlohmann::json& value) const;

  std::shared_ptr<const nlohmann::json> json_;
  std::string where_;
};

/// The value if it is whole and fits: 8, 8.0.
std::optional<std::int64_t> whole_number(const nlohmann::json& value);

}  // namespace ernie_image
