// Typed reading of JSON configuration files, with errors that name file, key, found and expected.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace ernie_image {

/// One JSON object and where it came from. A null value counts as an absent key. Every getter takes
/// the value to use when the key is absent; without one (required_*) its absence is
/// Error(corrupt_file).
class ConfigReader {
 public:
  /// Parses a file. Throws Error(not_found | corrupt_file): not JSON, not an object, nested deeper
  /// than 64, larger than 64 MiB.
  static ConfigReader open(const std::string& path);

  /// An object that is there already; `where` is for messages. The same errors.
  static ConfigReader of(const nlohmann::json& json, const std::string& where);

  bool has(const std::string& key) const;
  std::int64_t integer(const std::string& key, std::int64_t fallback, std::int64_t min,
                       std::int64_t max) const;
  std::int64_t required_integer(const std::string& key, std::int64_t min, std::int64_t max) const;
  /// Finite.
  double number(const std::string& key, double fallback) const;
  bool boolean(const std::string& key, bool fallback) const;
  std::string text(const std::string& key, const std::string& fallback) const;
  /// Integers within [min, max]; `fallback` when absent.
  std::vector<std::int64_t> integers(const std::string& key,
                                     const std::vector<std::int64_t>& fallback, std::int64_t min,
                                     std::int64_t max) const;
  /// A nested object, or nothing when absent.
  std::optional<ConfigReader> object(const std::string& key) const;

  /// "folder/config.json" or "folder/config.json: text_config"
  const std::string& where() const { return where_; }

 private:
  ConfigReader(std::shared_ptr<const nlohmann::json> json, std::string where);
  const nlohmann::json* find(const std::string& key) const;

  std::shared_ptr<const nlohmann::json> json_;
  std::string where_;
};

}  // namespace ernie_image
