#include "common/parse_values.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <random>

#include "ernie_image/error.h"
#include "io/json.h"
#include "tokenizer/utf8.h"

namespace ernie_image {
namespace {

[[noreturn]] void fail(std::string_view flag, std::string_view text, const std::string& expected) {
  throw Error(ErrorKind::invalid_argument,
              std::string(flag) + ": " + printable(text) + " is not " + expected);
}

template <typename T>
bool parse_whole(std::string_view text, T& value) {
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && rest == end;
}

std::string shortest(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", value);
  return text;
}

/// Of "", "B", "K", "KB", "KiB"...; nothing for another unit.
std::optional<int> shift_of_unit(std::string_view unit) {
  constexpr std::string_view kLetters = "KMGT";
  if (unit.empty() || unit == "B") return 0;
  const std::size_t at = kLetters.find(unit[0]);
  const std::string_view rest = unit.substr(1);
  if (at == std::string_view::npos || !(rest.empty() || rest == "B" || rest == "iB"))
    return std::nullopt;
  return 10 * (static_cast<int>(at) + 1);
}

}  // namespace

std::int64_t parse_integer(std::string_view flag, std::string_view text, std::int64_t min,
                           std::int64_t max) {
  std::int64_t value = 0;
  if (!parse_whole(text, value) || value < min || value > max) {
    fail(flag, text, "a whole number from " + std::to_string(min) + " to " + std::to_string(max));
  }
  return value;
}

double parse_number(std::string_view flag, std::string_view text, double min, double max) {
  double value = 0;
  if (!parse_whole(text, value) || !(value >= min && value <= max)) {
    fail(flag, text, "a number from " + shortest(min) + " to " + shortest(max));
  }
  return value;
}

std::uint64_t parse_seed(std::string_view flag, std::string_view text) {
  if (text == "random" || text == "-1") return std::random_device{}();
  std::uint64_t seed = 0;
  if (!parse_whole(text, seed)) {
    fail(flag, text,
         "a whole number from 0 to 18446744073709551615, or random (or -1) to draw one; a list has "
         "commas and no spaces, e.g. 1,2,3");
  }
  return seed;
}

std::vector<std::uint64_t> parse_seeds(std::string_view flag, std::string_view text) {
  std::vector<std::uint64_t> seeds;
  for (std::size_t begin = 0;;) {
    const std::size_t comma = text.find(',', begin);
    seeds.push_back(parse_seed(flag, text.substr(begin, comma - begin)));
    if (comma == std::string_view::npos) return seeds;
    begin = comma + 1;
  }
}

std::uint64_t parse_byte_count(std::string_view flag, std::string_view text) {
  const std::size_t digit_count = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::string_view digits = text.substr(0, digit_count);
  const std::optional<int> shift = shift_of_unit(text.substr(digit_count));
  std::uint64_t value = 0;
  double units = 0;  // what messages advise has two decimals
  if (shift && parse_whole(digits, value) && value > 0 &&
      value <= (std::numeric_limits<std::uint64_t>::max() >> *shift)) {
    return value << *shift;
  }
  if (shift && *shift > 0 && digits.find('.') != std::string_view::npos &&
      parse_whole(digits, units) && units > 0 && std::ldexp(units, *shift) < 0x1p63) {
    return static_cast<std::uint64_t>(std::ceil(std::ldexp(units, *shift)));
  }
  fail(flag, text,
       "a number of bytes above 0, such as 6G, 7.5G, 512M or 4096 (K, M, G, T, also written GB or "
       "GiB: powers of 1024)");
}

void require_utf8(std::string_view what, std::string_view text) {
  if (text.find('\0') != std::string_view::npos) {
    throw Error(ErrorKind::invalid_argument, std::string(what) + " contains a NUL character");
  }
  if (const std::optional<std::size_t> at = find_invalid_utf8(text)) {
    throw Error(ErrorKind::invalid_argument,
                std::string(what) + " is not valid UTF-8 at byte " + std::to_string(*at) + ": " +
                    printable(text) + "; save the text as UTF-8 or use a UTF-8 terminal");
  }
}

std::vector<std::string> split_prompt_lines(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<std::string> prompts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const bool is_blank = line.find_first_not_of(" \t") == std::string_view::npos;
    if (!is_blank && !line.starts_with('#')) prompts.emplace_back(line);
  }
  return prompts;
}

}  // namespace ernie_image
