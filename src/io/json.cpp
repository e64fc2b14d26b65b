#include "io/json.h"

#include <algorithm>

#include "ernie_image/error.h"
#include "io/placeholder.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{64} << 20;
constexpr int kMaxDepth = 64;
constexpr std::size_t kMaxQuoted = 100;

std::string clipped(std::string text) {
  if (text.size() > kMaxQuoted) text = text.substr(0, kMaxQuoted) + "...";
  return text;
}

std::string ascii_dump(const nlohmann::json& value) {
  return value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

/// How deep objects and arrays lie in each other. Found before parsing: the parser's own hook for
/// this takes quadratic time, and destroying a very deep value takes the stack.
int deepest_level(std::string_view text) {
  int level = 0, deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;  // whatever is escaped does not end the string
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++level);
    } else if (c == '}' || c == ']') {
      --level;
    }
  }
  return deepest;
}

}  // namespace

nlohmann::json parse_json(const FileView& file) {
  reject_placeholder(file);
  if (file.bytes.size() > kMaxBytes) {
    throw Error(ErrorKind::corrupt_file, file.path + ": " + std::to_string(file.bytes.size()) +
                                             " bytes, more than the 64 MiB that a JSON file of a "
                                             "model may have");
  }
  // nlohmann::json takes a zero byte for the end of its input.
  if (file.text().find('\0') != std::string_view::npos) {
    throw Error(ErrorKind::corrupt_file, file.path + ": not valid JSON: holds a zero byte");
  }
  if (deepest_level(file.text()) > kMaxDepth) {
    throw Error(ErrorKind::corrupt_file,
                file.path + ": JSON nested deeper than " + std::to_string(kMaxDepth) + " levels");
  }
  try {
    return nlohmann::json::parse(file.text());
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorKind::corrupt_file, file.path + ": not valid JSON: " + error.what());
  }
}

std::string printable(std::string_view text) {
  return clipped(ascii_dump(std::string(text.substr(0, kMaxQuoted))));
}

std::string printable_json(const nlohmann::json& value) { return clipped(ascii_dump(value)); }

}  // namespace ernie_image
