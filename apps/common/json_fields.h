// Typed access to the members of a JSON object that a file or another process wrote. Nobody has
// checked it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace ernie_image {

/// Everything throws Error(corrupt_file) that begins with `where` and names the member: absent, of
/// another type, or out of range.
class JsonFields {
 public:
  JsonFields(nlohmann::json object, std::string where);
  static JsonFields parse(std::string_view text, const std::string& where);

  bool has(const char* key) const { return object_.contains(key); }
  std::int64_t integer(const char* key, std::int64_t min, std::int64_t max) const;
  int small(const char* key, int min, int max) const;
  /// Finite at least.
  double number(const char* key, double min = std::numeric_limits<double>::lowest(),
                double max = std::numeric_limits<double>::max()) const;
  bool boolean(const char* key) const;
  std::string text(const char* key,
                   std::size_t max_bytes = std::numeric_limits<std::size_t>::max()) const;
  std::uint64_t seed(const char* key) const;

  std::vector<std::string> texts(const char* key, std::size_t max_count) const;
  std::vector<std::uint64_t> seeds(const char* key, std::size_t max_count) const;
  JsonFields object(const char* key) const;
  /// Of all members.
  std::vector<std::string> names(std::size_t max_count) const;
  std::vector<JsonFields> objects(const char* key, std::size_t max_count) const;

  [[noreturn]] void fail(const std::string& key, const std::string& problem) const;

 private:
  const nlohmann::json& require(const char* key) const;
  const nlohmann::json& list(const char* key, std::size_t max_count) const;

  nlohmann::json object_;
  std::string where_;
};

}  // namespace ernie_image
