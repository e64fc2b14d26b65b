#include "adapters/adapter_config.h"

#include <cmath>
#include <span>

#include <nlohmann/json.hpp>

#include "ernie_image/error.h"
#include "io/json.h"

namespace ernie_image {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMaxMembers = 10'000;

/// Keeping the order takes time by the square of the number of members.
void check_sizes(const nlohmann::json& value, const std::string& where) {
  if (value.is_structured() && value.size() > kMaxMembers) {
    throw Error(ErrorKind::corrupt_file, where + ": an object or list of " +
                                             std::to_string(value.size()) + " members, at most " +
                                             std::to_string(kMaxMembers));
  }
  for (const nlohmann::json& member : value) {
    if (member.is_structured()) check_sizes(member, where);
  }
}

/// The order of an object's members is the order of its patterns.
ordered_json parse_object(std::string_view json, const std::string& where) {
  const FileView file{where, std::as_bytes(std::span(json.data(), json.size())), nullptr, -1};
  check_sizes(parse_json(file), where);
  ordered_json object = ordered_json::parse(json);
  if (!object.is_object()) throw Error(ErrorKind::corrupt_file, where + ": no JSON object");
  return object;
}

}  // namespace

struct AdapterConfig::Reader {
  const ordered_json& object;
  std::string prefix;
  const std::string& where;

  [[noreturn]] void fail(const std::string& key, const std::string& expected) const {
    throw Error(ErrorKind::corrupt_file,
                where + ": " + key + " is " +
                    printable_json(nlohmann::json::parse(
                        object.at(prefix + key)
                            .dump(-1, ' ', true, ordered_json::error_handler_t::replace))) +
                    ", expected " + expected);
  }
  const ordered_json* find(const std::string& key) const {
    const auto found = object.find(prefix + key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }
  double number(const std::string& key, double otherwise) const {
    const ordered_json* const value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_number() || !std::isfinite(value->get<double>())) fail(key, "a number");
    return value->get<double>();
  }
  bool boolean(const std::string& key) const {
    const ordered_json* const value = find(key);
    if (value != nullptr && !value->is_boolean()) fail(key, "true or false");
    return value != nullptr && value->get<bool>();
  }
  std::string text(const std::string& key, const std::string& otherwise) const {
    const ordered_json* const value = find(key);
    if (value != nullptr && !value->is_string()) fail(key, "a string");
    return value == nullptr ? otherwise : value->get<std::string>();
  }
  Values patterns(const std::string& key) const {
    const ordered_json* const value = find(key);
    Values values;
    if (value == nullptr) return values;
    if (!value->is_object()) fail(key, "an object of numbers");
    for (const auto& [pattern, number] : value->items()) {
      if (!number.is_number() || !std::isfinite(number.get<double>()))
        fail(key, "an object of numbers");
      values.emplace_back(NamePattern(pattern, where + ": " + key), number.get<double>());
    }
    return values;
  }
  AdapterConfig config() const {
    AdapterConfig config;
    config.kind_ = text("peft_type", "LORA");
    if (config.kind_ != "LORA" && config.kind_ != "LOHA" && config.kind_ != "LOKR") {
      throw Error(ErrorKind::unsupported, where + ": an adapter of the kind " +
                                              printable(config.kind_) +
                                              "; LORA, LOHA and LOKR are supported");
    }
    const char* const alpha = config.kind_ == "LORA" ? "lora_alpha" : "alpha";
    config.alpha_ = number(alpha, config.alpha_);
    config.rank_ = number("r", config.rank_);
    config.uses_rslora_ = boolean("use_rslora");
    config.alphas_ = patterns("alpha_pattern");
    config.ranks_ = patterns("rank_pattern");
    return config;
  }
};

AdapterConfig AdapterConfig::parse(std::string_view json, const std::string& where) {
  const ordered_json object = parse_object(json, where);
  return Reader{object, "", where}.config();
}

std::optional<AdapterConfig> AdapterConfig::parse_metadata(std::string_view json,
                                                           std::string_view component,
                                                           const std::string& where) {
  const ordered_json object = parse_object(json, where);
  const std::string prefix = std::string(component) + ".";
  for (const auto& [key, value] : object.items()) {
    if (key.starts_with(prefix)) return Reader{object, prefix, where}.config();
  }
  return std::nullopt;
}

double AdapterConfig::value(const Values& values, std::string_view module, double otherwise) {
  for (const auto& [pattern, number] : values) {
    if (pattern.matches(module)) return number;
  }
  return otherwise;
}

}  // namespace ernie_image
