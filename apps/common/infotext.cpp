// Reference: parse_generation_parameters in the web UI's modules/infotext_utils.py, whose rules
// these are.
#include "common/infotext.h"

#include <algorithm>
#include <cctype>

#include <nlohmann/json.hpp>

#include "core/ascii.h"

namespace ernie_image {
namespace {

constexpr std::string_view kNegative = "Negative prompt:";
constexpr std::size_t kFewestSettings = 3;  // a last line of fewer is part of the prompt

bool is_word(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x80 || std::isalnum(byte) != 0 || c == '_';
}

/// "Size", "CFG scale", "Hires upscale/x-1": at least two characters before a colon.
std::string_view take_key(std::string_view& line) {
  std::size_t end = 0;
  const auto may_be_inside = [](char c) { return is_word(c) || c == ' ' || c == '-' || c == '/'; };
  while (end < line.size() && may_be_inside(line[end])) ++end;
  if (end < 2 || !is_word(line[0]) || end == line.size() || line[end] != ':') return {};
  const std::string_view key = line.substr(0, end);
  line.remove_prefix(end + 1);
  return key;
}

/// A value in JSON's quotes; empty if they do not close before a comma or the end.
std::string take_quoted(std::string_view& line) {
  std::size_t end = 1;
  while (end < line.size() && line[end] != '"') end += line[end] == '\\' ? 2 : 1;
  if (end >= line.size()) return {};
  const std::string_view rest = line.substr(end + 1);
  if (!rest.empty() && rest.front() != ',') return {};
  const auto value = nlohmann::json::parse(line.substr(0, end + 1), nullptr, false);
  if (!value.is_string()) return {};
  line = rest;
  return value.get<std::string>();
}

std::string take_value(std::string_view& line) {
  line = line.substr(std::min(line.find_first_not_of(' '), line.size()));
  if (line.starts_with('"')) {
    if (std::string value = take_quoted(line); !value.empty()) return value;
  }
  const std::size_t end = std::min(line.find(','), line.size());
  const std::string_view value = line.substr(0, end);
  line.remove_prefix(end);
  return std::string(value);
}

std::vector<std::pair<std::string, std::string>> parse_settings(std::string_view line) {
  std::vector<std::pair<std::string, std::string>> settings;
  while (!line.empty()) {
    line = line.substr(std::min(line.find_first_not_of(" ,"), line.size()));
    const std::string_view key = take_key(line);
    if (key.empty()) {  // what is none is passed by
      line = line.substr(std::min(line.find(','), line.size()));
      continue;
    }
    settings.emplace_back(key, take_value(line));
  }
  return settings;
}

}  // namespace

Infotext parse_infotext(std::string_view text) {
  text = stripped(text);
  const std::size_t last = text.rfind('\n');
  Infotext result;
  result.settings = parse_settings(last == std::string_view::npos ? text : text.substr(last + 1));
  if (result.settings.size() < kFewestSettings) {
    result.settings.clear();
  } else {
    text = last == std::string_view::npos ? std::string_view() : text.substr(0, last);
  }
  std::string* part = &result.prompt;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = stripped(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.starts_with(kNegative)) {
      part = &result.negative_prompt;
      line = stripped(line.substr(kNegative.size()));
    }
    if (!part->empty()) *part += '\n';
    *part += line;
  }
  return result;
}

}  // namespace ernie_image
