// Values of flags, read strictly: the whole text must be the value, and errors name the flag, what
// was found and the valid range. All throw Error(invalid_argument).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ernie_image {

/// Decimal, within [min, max].
std::int64_t parse_integer(std::string_view flag, std::string_view text, std::int64_t min,
                           std::int64_t max);

/// A finite decimal number within [min, max].
double parse_number(std::string_view flag, std::string_view text, double min, double max);

/// "7", from 0 to 2^64 - 1, or "random" or "-1" for one drawn from the system.
std::uint64_t parse_seed(std::string_view flag, std::string_view text);

/// "7", "1,2,3": each as parse_seed takes it.
std::vector<std::uint64_t> parse_seeds(std::string_view flag, std::string_view text);

/// "6G", "6GB", "6GiB", "512M", "4096": bytes, with powers of 1024 for K, M, G and T.
std::uint64_t parse_byte_count(std::string_view flag, std::string_view text);

/// Throws unless `text` is UTF-8 without NUL, so that it fits tokenizer, JSON and PNG chunks alike.
void require_utf8(std::string_view what, std::string_view text);

/// One prompt a line: a byte order mark, line ends of either kind, blank lines and those that begin
/// with "#" are dropped.
std::vector<std::string> split_prompt_lines(std::string_view text);

}  // namespace ernie_image
