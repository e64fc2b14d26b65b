#include "io/json_reader.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "io/json.h"

namespace ernie_image {
namespace {

using nlohmann::json;

std::string message(const std::string& where, const std::string& key, const json* found,
                    const std::string& expected) {
  const std::string state = found == nullptr ? "missing" : printable_json(*found);
  return where + ": \"" + key + "\" is " + state + ", expected " + expected;
}

std::string range_text(const std::string& what, const json& min, const json& max) {
  return what + " from " + min.dump() + " to " + max.dump();
}

std::optional<std::int64_t> integer_within(const json& value, std::int64_t min, std::int64_t max) {
  const std::optional<std::int64_t> integer = whole_number(value);
  return integer && *integer >= min && *integer <= max ? integer : std::nullopt;
}

struct Document {
  explicit Document(json given) : value(std::move(given)) {}
  Document(const Document&) = delete;
  Document& operator=(const Document&) = delete;
  ~Document() { dismantle(value); }

  json value;
};

std::shared_ptr<const json> document_of(json value) {
  const auto document = std::make_shared<Document>(std::move(value));
  return {document, &document->value};
}

}  // namespace

JsonError::JsonError(const std::string& where, std::string key, const json* found,
                     std::string expected)
    : Error(ErrorKind::corrupt_file, message(where, key, found, expected)),
      key_(std::move(key)),
      expected_(std::move(expected)) {}

std::optional<std::int64_t> whole_number(const json& value) {
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX) return std::nullopt;
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  constexpr double kExact = 9007199254740992;  // 2^53: beyond it a double is no certain integer
  if (!(std::abs(number) <= kExact) || std::trunc(number) != number) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

JsonReader::JsonReader(std::shared_ptr<const json> value, std::string where)
    : json_(std::move(value)), where_(std::move(where)) {
  if (!json_->is_object()) {
    throw Error(ErrorKind::corrupt_file,
                where_ + ": holds " + printable_json(*json_) + ", expected a JSON object { ... }");
  }
}

JsonReader::JsonReader(json value, std::string where)
    : JsonReader(document_of(std::move(value)), std::move(where)) {}

JsonReader JsonReader::open(const std::string& path) { return {parse_json(open_file(path)), path}; }

JsonReader JsonReader::parse(std::string_view text, const std::string& where) {
  return {parse_json({where, std::as_bytes(std::span(text)), nullptr}), where};
}

const json* JsonReader::find(const std::string& key) const {
  const auto found = json_->find(key);
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

std::int64_t JsonReader::integer(const std::string& key, std::int64_t min, std::int64_t max) const {
  const std::string expected = range_text("a whole number", min, max);
  const auto integer = integer_within(require(key, expected), min, max);
  if (!integer) fail(key, expected);
  return *integer;
}

std::int64_t JsonReader::integer(const std::string& key, std::int64_t fallback, std::int64_t min,
                                 std::int64_t max) const {
  return has(key) ? integer(key, min, max) : fallback;
}

int JsonReader::small(const std::string& key, int min, int max) const {
  return static_cast<int>(integer(key, min, max));
}

std::uint64_t JsonReader::seed(const std::string& key) const {
  constexpr const char* kExpected = "a whole number from 0 to 18446744073709551615";
  const json& value = require(key, kExpected);
  if (!value.is_number_unsigned()) fail(key, kExpected);
  return value.get<std::uint64_t>();
}

double JsonReader::number(const std::string& key) const {
  const json& value = require(key, "a finite number");
  if (!value.is_number() || !std::isfinite(value.get<double>())) fail(key, "a finite number");
  return value.get<double>();
}

double JsonReader::number(const std::string& key, double fallback) const {
  return has(key) ? number(key) : fallback;
}

double JsonReader::number(const std::string& key, double min, double max) const {
  const std::string expected = range_text("a number", min, max);
  const json& value = require(key, expected);
  const double number = value.is_number() ? value.get<double>() : std::nan("");
  if (!(number >= min && number <= max)) fail(key, expected);
  return number;
}

bool JsonReader::boolean(const std::string& key) const {
  const json& value = require(key, "true or false");
  if (!value.is_boolean()) fail(key, "true or false");
  return value.get<bool>();
}

bool JsonReader::boolean(const std::string& key, bool fallback) const {
  return has(key) ? boolean(key) : fallback;
}

std::string JsonReader::text(const std::string& key) const {
  return limited_text(key, std::numeric_limits<std::size_t>::max());
}

std::string JsonReader::text(const std::string& key, const std::string& fallback) const {
  return has(key) ? text(key) : fallback;
}

std::string JsonReader::limited_text(const std::string& key, std::size_t max_bytes) const {
  const json& value = require(key, "a text");
  if (!value.is_string()) fail(key, "a text");
  if (value.get_ref<const std::string&>().size() > max_bytes) {
    fail(key, "a text of at most " + std::to_string(max_bytes) + " bytes");
  }
  return value.get<std::string>();
}

std::string JsonReader::choice(const std::string& key, std::string_view fallback,
                               std::initializer_list<std::string_view> choices) const {
  if (!has(key)) return std::string(fallback);
  std::string value = text(key);
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return value;
  std::string list;
  for (const std::string_view choice : choices) {
    list += list.empty() ? "" : ", ";
    list += choice;
  }
  fail(key, "one of " + list);
}

std::vector<std::int64_t> JsonReader::integers(const std::string& key,
                                               const std::vector<std::int64_t>& fallback,
                                               std::int64_t min, std::int64_t max) const {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  const std::string expected = range_text("a list of whole numbers", min, max);
  if (!value->is_array()) fail(key, expected);
  std::vector<std::int64_t> integers;
  for (const json& element : *value) {
    const auto integer = integer_within(element, min, max);
    if (!integer) fail(key, expected);
    integers.push_back(*integer);
  }
  return integers;
}

std::vector<std::string> JsonReader::texts(const std::string& key, std::size_t max_count) const {
  std::vector<std::string> result;
  for (const json& value : list(key, "texts", max_count)) {
    if (!value.is_string()) fail(key, "a list of texts");
    result.push_back(value.get<std::string>());
  }
  return result;
}

std::vector<std::uint64_t> JsonReader::seeds(const std::string& key, std::size_t max_count) const {
  std::vector<std::uint64_t> result;
  for (const json& value : list(key, "seeds", max_count)) {
    if (!value.is_number_unsigned()) fail(key, "a list of seeds");
    result.push_back(value.get<std::uint64_t>());
  }
  return result;
}

std::optional<JsonReader> JsonReader::object(const std::string& key) const {
  if (!has(key)) return std::nullopt;
  return required_object(key);
}

JsonReader JsonReader::required_object(const std::string& key) const {
  const json& value = require(key, "an object { ... }");
  if (!value.is_object()) fail(key, "an object { ... }");
  return nested(key, value);
}

std::vector<JsonReader> JsonReader::objects(const std::string& key, std::size_t max_count) const {
  std::vector<JsonReader> result;
  if (!has(key)) return result;
  for (const json& value : list(key, "objects", max_count)) result.push_back(nested(key, value));
  return result;
}

std::optional<std::string> JsonReader::unknown_key(
    const std::vector<std::string_view>& known) const {
  for (const auto& [key, value] : json_->items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) return key;
  }
  return std::nullopt;
}

void JsonReader::fail(const std::string& key, const std::string& expected) const {
  throw JsonError(where_, key, find(key), expected);
}

const json& JsonReader::require(const std::string& key, const std::string& expected) const {
  const json* value = find(key);
  if (value == nullptr) fail(key, expected);
  return *value;
}

const json& JsonReader::list(const std::string& key, const std::string& of,
                             std::size_t max_count) const {
  const std::string expected = max_count == SIZE_MAX
                                   ? "a list of " + of
                                   : "a list of at most " + std::to_string(max_count) + " " + of;
  const json& value = require(key, expected);
  if (!value.is_array() || value.size() > max_count) fail(key, expected);
  return value;
}

JsonReader JsonReader::nested(const std::string& key, const json& value) const {
  // Shares ownership of the whole document.
  return JsonReader(std::shared_ptr<const json>(json_, &value), where_ + ": " + key);
}

}  // namespace ernie_image
