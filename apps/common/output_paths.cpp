#include "common/output_paths.h"

#include <filesystem>
#include <optional>

#include <unistd.h>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

/// The file name of a pattern around its number.
struct Pattern {
  std::string before;
  std::string after;
  std::optional<std::size_t> width;  // digits at least; absent: no number in the name
};

[[noreturn]] void fail(const std::string& name) {
  throw Error(
      ErrorKind::invalid_argument,
      "--output: in the file name \"" + name +
          "\" only one number, as %d or %03d (up to %09d), can stand; a percent sign itself "
          "is written %%");
}

/// Reads "%d", "%03d" at `position` (of the percent sign), which moves behind it.
std::optional<std::size_t> read_number(const std::string& name, std::size_t& position) {
  std::size_t at = position + 1;
  std::size_t width = 1;
  if (at + 1 < name.size() && name[at] == '0' && name[at + 1] >= '1' && name[at + 1] <= '9') {
    width = static_cast<std::size_t>(name[at + 1] - '0');
    at += 2;
  }
  if (at >= name.size() || name[at] != 'd') return std::nullopt;
  position = at + 1;
  return width;
}

Pattern parse_pattern(const std::string& name) {
  Pattern pattern;
  for (std::size_t i = 0; i < name.size();) {
    std::string& part = pattern.width ? pattern.after : pattern.before;
    if (name[i] != '%') {
      part += name[i++];
    } else if (name.compare(i, 2, "%%") == 0) {
      part += '%';
      i += 2;
    } else {
      const std::optional<std::size_t> width = read_number(name, i);
      if (!width || pattern.width) fail(name);
      pattern.width = width;
    }
  }
  return pattern;
}

std::string padded(int number, std::size_t width) {
  const std::string digits = std::to_string(number);
  return digits.size() < width ? std::string(width - digits.size(), '0') + digits : digits;
}

std::string file_name(const Pattern& pattern, int number) {
  if (pattern.width) return pattern.before + padded(number, *pattern.width) + pattern.after;
  if (number == 1) return pattern.before;
  const std::size_t dot = std::min(pattern.before.rfind('.'), pattern.before.size());
  return pattern.before.substr(0, dot) + "-" + std::to_string(number) + pattern.before.substr(dot);
}

}  // namespace

std::vector<std::string> output_paths(const std::string& pattern, int count) {
  const std::size_t slash = pattern.rfind('/');
  const std::size_t name_begin = slash == std::string::npos ? 0 : slash + 1;
  const Pattern parsed = parse_pattern(pattern.substr(name_begin));
  std::vector<std::string> paths;
  for (int number = 1; number <= count; ++number) {
    paths.push_back(pattern.substr(0, name_begin) + file_name(parsed, number));
  }
  return paths;
}

void require_writable(const std::string& flag, const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    throw Error(ErrorKind::invalid_argument,
                flag + ": " + path + " is a folder; name a file in it");
  }
  const fs::path parent = fs::path(path).parent_path();
  const fs::path folder = parent.empty() ? fs::path(".") : parent;
  if (!fs::is_directory(folder, ignored)) {
    throw Error(ErrorKind::not_found,
                flag + ": there is no folder " + folder.string() + "; create it first");
  }
  if (access(folder.c_str(), W_OK | X_OK) != 0) {
    throw Error(ErrorKind::io, flag + ": no permission to write in the folder " + folder.string());
  }
}

}  // namespace ernie_image
