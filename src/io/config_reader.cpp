#include "io/config_reader.h"

#include <cmath>
#include <limits>
#include <utility>

#include "ernie_image/error.h"
#include "io/json.h"

namespace ernie_image {
namespace {

using nlohmann::json;

[[noreturn]] void throw_unexpected(const std::string& where, const std::string& key,
                                   const json& found, const std::string& expected) {
  throw Error(ErrorKind::corrupt_file,
              where + ": \"" + key + "\" is " + printable_json(found) + ", expected " + expected);
}

std::string range_text(std::int64_t min, std::int64_t max) {
  return "from " + std::to_string(min) + " to " + std::to_string(max);
}

/// The value as an integer within [min, max], if it is one.
std::optional<std::int64_t> integer_within(const json& value, std::int64_t min, std::int64_t max) {
  if (!value.is_number_integer()) return std::nullopt;
  constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > kLargest) return std::nullopt;
  const auto integer = value.get<std::int64_t>();
  if (integer < min || integer > max) return std::nullopt;
  return integer;
}

}  // namespace

ConfigReader::ConfigReader(std::shared_ptr<const json> value, std::string where)
    : json_(std::move(value)), where_(std::move(where)) {}

ConfigReader ConfigReader::open(const std::string& path) {
  return of(parse_json(open_file(path)), path);
}

ConfigReader ConfigReader::of(const json& value, const std::string& where) {
  if (!value.is_object()) {
    throw Error(ErrorKind::corrupt_file,
                where + ": holds " + printable_json(value) + ", expected a JSON object { ... }");
  }
  return ConfigReader(std::make_shared<const json>(value), where);
}

const json* ConfigReader::find(const std::string& key) const {
  const auto found = json_->find(key);
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

bool ConfigReader::has(const std::string& key) const { return find(key) != nullptr; }

std::int64_t ConfigReader::integer(const std::string& key, std::int64_t fallback, std::int64_t min,
                                   std::int64_t max) const {
  return has(key) ? required_integer(key, min, max) : fallback;
}

std::int64_t ConfigReader::required_integer(const std::string& key, std::int64_t min,
                                            std::int64_t max) const {
  const json* value = find(key);
  if (value == nullptr) {
    throw Error(
        ErrorKind::corrupt_file,
        where_ + ": \"" + key + "\" is missing, expected an integer " + range_text(min, max));
  }
  const auto integer = integer_within(*value, min, max);
  if (!integer) throw_unexpected(where_, key, *value, "an integer " + range_text(min, max));
  return *integer;
}

double ConfigReader::number(const std::string& key, double fallback) const {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_number() || !std::isfinite(value->get<double>()))
    throw_unexpected(where_, key, *value, "a finite number");
  return value->get<double>();
}

bool ConfigReader::boolean(const std::string& key, bool fallback) const {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) throw_unexpected(where_, key, *value, "true or false");
  return value->get<bool>();
}

std::string ConfigReader::text(const std::string& key, const std::string& fallback) const {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) throw_unexpected(where_, key, *value, "a string");
  return value->get<std::string>();
}

std::vector<std::int64_t> ConfigReader::integers(const std::string& key,
                                                 const std::vector<std::int64_t>& fallback,
                                                 std::int64_t min, std::int64_t max) const {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  const std::string expected = "a list of integers " + range_text(min, max);
  if (!value->is_array()) throw_unexpected(where_, key, *value, expected);
  std::vector<std::int64_t> integers;
  for (const json& element : *value) {
    const auto integer = integer_within(element, min, max);
    if (!integer) throw_unexpected(where_, key, *value, expected);
    integers.push_back(*integer);
  }
  return integers;
}

std::optional<ConfigReader> ConfigReader::object(const std::string& key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) throw_unexpected(where_, key, *value, "an object { ... }");
  // Shares ownership of the whole document.
  return ConfigReader(std::shared_ptr<const json>(json_, value), where_ + ": " + key);
}

}  // namespace ernie_image
