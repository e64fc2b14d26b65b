#include "common/json_fields.h"

#include <span>
#include <utility>

#include "ernie_image/error.h"
#include "io/json.h"

namespace ernie_image {

using nlohmann::json;

JsonFields::JsonFields(json object, std::string where)
    : object_(std::move(object)), where_(std::move(where)) {
  if (!object_.is_object()) fail("", "is not a JSON object");
}

JsonFields JsonFields::parse(std::string_view text, const std::string& where) {
  return {parse_json({where, std::as_bytes(std::span(text)), nullptr}), where};
}

std::int64_t JsonFields::integer(const char* key, std::int64_t min, std::int64_t max) const {
  const json& value = require(key);
  // A number beyond the signed range would wrap; it is out of every range here.
  const bool fits = value.is_number_integer() &&
                    !(value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX);
  if (!fits || value.get<std::int64_t>() < min || value.get<std::int64_t>() > max) {
    fail(key, "is not a whole number from " + std::to_string(min) + " to " + std::to_string(max));
  }
  return value.get<std::int64_t>();
}

int JsonFields::small(const char* key, int min, int max) const {
  return static_cast<int>(integer(key, min, max));
}

double JsonFields::number(const char* key, double min, double max) const {
  const json& value = require(key);
  if (!value.is_number()) fail(key, "is not a number");
  const double number = value.get<double>();
  if (!(number >= min && number <= max)) fail(key, "is out of range");
  return number;
}

bool JsonFields::boolean(const char* key) const {
  const json& value = require(key);
  if (!value.is_boolean()) fail(key, "is neither true nor false");
  return value.get<bool>();
}

std::string JsonFields::text(const char* key, std::size_t max_bytes) const {
  const json& value = require(key);
  if (!value.is_string()) fail(key, "is not a text");
  if (value.get_ref<const std::string&>().size() > max_bytes) fail(key, "is too long");
  return value.get<std::string>();
}

std::uint64_t JsonFields::seed(const char* key) const {
  const json& value = require(key);
  if (!value.is_number_unsigned()) fail(key, "is not a seed");
  return value.get<std::uint64_t>();
}

std::vector<std::string> JsonFields::texts(const char* key, std::size_t max_count) const {
  std::vector<std::string> result;
  for (const json& value : list(key, max_count)) {
    if (!value.is_string()) fail(key, "has an entry that is not a text");
    result.push_back(value.get<std::string>());
  }
  return result;
}

std::vector<std::uint64_t> JsonFields::seeds(const char* key, std::size_t max_count) const {
  std::vector<std::uint64_t> result;
  for (const json& value : list(key, max_count)) {
    if (!value.is_number_unsigned()) fail(key, "has an entry that is not a seed");
    result.push_back(value.get<std::uint64_t>());
  }
  return result;
}

JsonFields JsonFields::object(const char* key) const { return {require(key), where_ + ": " + key}; }

std::vector<std::string> JsonFields::names(std::size_t max_count) const {
  if (object_.size() > max_count)
    fail("", "has more than " + std::to_string(max_count) + " members");
  std::vector<std::string> names;
  for (const auto& member : object_.items()) names.push_back(member.key());
  return names;
}

std::vector<JsonFields> JsonFields::objects(const char* key, std::size_t max_count) const {
  std::vector<JsonFields> result;
  for (const json& value : list(key, max_count)) result.emplace_back(value, where_ + ": " + key);
  return result;
}

void JsonFields::fail(const std::string& key, const std::string& problem) const {
  throw Error(ErrorKind::corrupt_file, where_ + (key.empty() ? " " : ": " + key + " ") + problem);
}

const json& JsonFields::require(const char* key) const {
  const auto found = object_.find(key);
  if (found == object_.end()) fail(key, "is missing");
  return *found;
}

const json& JsonFields::list(const char* key, std::size_t max_count) const {
  const json& value = require(key);
  if (!value.is_array() || value.size() > max_count) {
    fail(key, "is not a list of at most " + std::to_string(max_count) + " entries");
  }
  return value;
}

}  // namespace ernie_image
