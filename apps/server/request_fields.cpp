#include "server/request_fields.h"

#include <algorithm>
#include <cstdint>
#include <span>

#include "io/json.h"
#include "server/api_error.h"

namespace ernie_image {
namespace {

using nlohmann::json;

/// Nothing if it is no whole number of 64 bits with sign.
std::optional<std::int64_t> whole_number(const json& value) {
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX) return std::nullopt;
  if (value.is_number_integer()) return value.get<std::int64_t>();
  // Languages without integers send 8.0.
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  constexpr double kExact = 9007199254740992;  // 2^53: beyond it a double is no certain integer
  const bool is_whole = number >= -kExact && number <= kExact &&
                        number == static_cast<double>(static_cast<std::int64_t>(number));
  if (!is_whole) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

std::optional<std::uint64_t> seed_of(const char* name, const json& value) {
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  const std::optional<std::int64_t> number = whole_number(value);
  if (number == -1) return std::nullopt;
  if (!number || *number < 0) {
    refuse_field(name, "must be a whole number from 0 to 18446744073709551615, or a list of them");
  }
  return static_cast<std::uint64_t>(*number);
}

std::string short_number(double value) { return json(value).dump(); }

}  // namespace

void refuse_field(const std::string& name, const std::string& problem) {
  throw ApiError(400, name + " " + problem, name, "invalid_value");
}

RequestFields RequestFields::parse(std::string_view body) {
  const FileView view = {"the request's body", std::as_bytes(std::span(body.data(), body.size())),
                         nullptr, -1};
  json parsed = parse_json(view);
  if (!parsed.is_object()) throw ApiError(400, "the request's body is not a JSON object");
  return RequestFields(std::move(parsed));
}

const json* RequestFields::find(const char* name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<std::int64_t> RequestFields::integer(const char* name, std::int64_t min,
                                                   std::int64_t max) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  const std::optional<std::int64_t> number = whole_number(*value);
  if (!number || *number < min || *number > max) {
    refuse_field(
        name, "must be a whole number from " + std::to_string(min) + " to " + std::to_string(max));
  }
  return number;
}

std::optional<double> RequestFields::number(const char* name, double min, double max) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : min - 1;
  if (!(number >= min && number <= max)) {
    refuse_field(name, "must be a number from " + short_number(min) + " to " + short_number(max));
  }
  return number;
}

std::optional<bool> RequestFields::boolean(const char* name) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) refuse_field(name, "must be true or false");
  return value->get<bool>();
}

std::optional<std::string> RequestFields::text(const char* name) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse_field(name, "must be a text");
  return value->get<std::string>();
}

std::optional<std::string> RequestFields::choice(
    const char* name, std::initializer_list<std::string_view> choices) const {
  const std::optional<std::string> value = text(name);
  if (!value || std::find(choices.begin(), choices.end(), *value) != choices.end()) return value;
  std::string list;
  for (const std::string_view choice : choices) {
    list += list.empty() ? "" : ", ";
    list += choice;
  }
  refuse_field(name, "must be one of " + list);
}

std::optional<std::vector<std::optional<std::uint64_t>>> RequestFields::seeds(
    const char* name, std::size_t max_count) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array()) return std::vector{seed_of(name, *value)};
  if (value->empty() || value->size() > max_count) {
    refuse_field(name, "must have 1 to " + std::to_string(max_count) + " entries");
  }
  std::vector<std::optional<std::uint64_t>> seeds;
  for (const json& seed : *value) seeds.push_back(seed_of(name, seed));
  return seeds;
}

void RequestFields::refuse_unknown(std::initializer_list<std::string_view> known) const {
  for (const auto& [name, value] : object_.items()) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    throw ApiError(400, "unknown field: " + printable(name), name.substr(0, 100),
                   "unknown_parameter");
  }
}

}  // namespace ernie_image
