#include "common/output_paths.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <ctime>
#include <filesystem>
#include <optional>
#include <utility>

#include <unistd.h>

#include "ernie_image/error.h"
#include "io/atomic_file.h"
#include "io/text_encoding.h"
#include "tokenizer/utf8.h"

namespace ernie_image {
namespace {

/// The file name of a pattern around its number.
struct Pattern {
  std::string before;
  std::string after;
  std::optional<std::size_t> width;  // digits at least; absent: no number in the name
};

[[noreturn]] void fail(const std::string& name) {
  throw Error(ErrorKind::invalid_argument,
              "--output: in the file name \"" + name +
                  "\" only one number, as %d or %03d (up to %09d), can stand; where a percent sign "
                  "and these letters are meant, write %%");
}

/// "%5d", "%-3d", "%ld": a number was meant, in a form that is not known here.
bool is_other_number(const std::string& name, std::size_t position) {
  const std::size_t end = name.find_first_not_of("0123456789+-#*l", position + 1);
  return end != std::string::npos && end > position + 1 &&
         std::string_view("diu").find(name[end]) != std::string_view::npos;
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
      if (width ? pattern.width.has_value() : is_other_number(name, i)) fail(name);
      if (width) {
        pattern.width = width;
      } else {
        part += name[i++];
      }
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

/// Punctuation, symbols, white space and marks that cannot be seen, beyond ASCII.
constexpr std::pair<char32_t, char32_t> kNoLetters[] = {
    {0x80, 0xbf},     {0xd7, 0xd7},     {0xf7, 0xf7},     {0x2000, 0x2bff},   {0x3000, 0x3004},
    {0x3008, 0x3020}, {0xe000, 0xf8ff}, {0xfe00, 0xfe6f}, {0xff00, 0xff0f},   {0xff1a, 0xff20},
    {0xff3b, 0xff40}, {0xff5b, 0xff65}, {0xfff0, 0xffff}, {0x1f000, 0x1faff}, {0xe0000, 0x10ffff}};

bool is_letter(char32_t point) {
  if (point < 0x80) return std::isalnum(static_cast<int>(point)) != 0;
  return std::ranges::none_of(kNoLetters, [point](const auto& range) {
    return point >= range.first && point <= range.second;
  });
}

std::size_t utf8_bytes(char32_t point) {
  return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
}

void require_short_name(const std::string& flag, const std::filesystem::path& file,
                        const std::filesystem::path& folder) {
  const std::string name = file.filename().string();
  const long most = ::pathconf(folder.c_str(), _PC_NAME_MAX);
  if (most < 0 || name.size() <= static_cast<std::size_t>(most)) return;
  throw Error(ErrorKind::invalid_argument, flag + ": the name " + name.substr(0, 40) + "... has " +
                                               std::to_string(name.size()) +
                                               " bytes, and a file's may have at most " +
                                               std::to_string(most) + " in " + folder.string());
}

}  // namespace

bool is_output_folder(const std::string& output) {
  std::error_code ignored;
  return output.ends_with('/') || std::filesystem::is_directory(output, ignored);
}

std::string output_folder(const std::string& output) {
  if (output.empty()) return "";
  std::error_code error;
  std::filesystem::create_directories(output, error);
  if (error) {
    throw Error(ErrorKind::io,
                "--output: cannot make the folder " + output + ": " + error.message());
  }
  return output.ends_with('/') ? output : output + "/";
}

std::string name_of_prompt(std::string_view prompt) {
  constexpr std::size_t kMostBytes = 60;
  const std::string text = replace_invalid_utf8(prompt);
  std::vector<std::string> words(1);
  std::size_t at = 0;
  for (const char32_t point : decode_utf8(text).value_or(U"")) {
    std::string letter = text.substr(at, utf8_bytes(point));
    at += letter.size();
    if (point < 0x80) letter[0] = static_cast<char>(std::tolower(static_cast<int>(point)));
    if (!is_letter(point)) {
      if (!words.back().empty()) words.emplace_back();
    } else if (words.back().size() + letter.size() <= kMostBytes) {
      words.back() += letter;
    }
  }
  std::string name;
  for (const std::string& word : words) {
    if (word.empty() || (!name.empty() && name.size() + 1 + word.size() > kMostBytes)) break;
    name += (name.empty() ? "" : "-") + word;
  }
  return name.empty() ? "picture" : name;
}

std::string free_path(const std::string& stem, bool may_exist, std::set<std::string>& taken) {
  for (int number = 1;; ++number) {
    std::string path = stem + (number == 1 ? "" : "-" + std::to_string(number)) + ".png";
    std::error_code ignored;  // what cannot be looked at is refused when it is to be written
    const bool exists = std::filesystem::exists(std::filesystem::symlink_status(path, ignored));
    if ((may_exist || !exists) && taken.insert(path).second) return path;
  }
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::array<char, 16> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d", &local);
  return text.data();
}

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

void require_writable(const std::string& flag, const std::string& path,
                      const char* without_folder) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    throw Error(ErrorKind::invalid_argument,
                flag + ": " + path + " is a folder; name a file in it");
  }
  const fs::path file = link_target(path);
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  if (!fs::is_directory(folder, ignored)) {
    throw Error(ErrorKind::not_found,
                flag + ": there is no folder " + folder.string() + "; " + without_folder);
  }
  require_short_name(flag, file, folder);
  const bool exists = fs::exists(file, ignored);
  if (exists && access(file.c_str(), W_OK) != 0) {
    throw Error(ErrorKind::io, flag + ": no permission to write to " + file.string());
  }
  // A device or a pipe is written to as it is.
  if (exists && !fs::is_regular_file(file, ignored)) return;
  if (access(folder.c_str(), W_OK | X_OK) != 0) {
    throw Error(ErrorKind::io, flag + ": no permission to write in the folder " + folder.string());
  }
  constexpr std::size_t kSmallestFile = 4096;  // one block; how large it will be nobody knows yet
  try_writing(file.string(), kSmallestFile);
}

}  // namespace ernie_image
