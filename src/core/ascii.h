// Text of protocols and files in ASCII, whatever the locale says; other bytes stay as they are.
#pragma once

#include <string>
#include <string_view>

namespace ernie_image {

inline std::string lower_case(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

/// Without the characters of `what` at both ends.
inline std::string_view stripped(std::string_view text, std::string_view what = " \t\n\v\f\r") {
  const std::size_t begin = text.find_first_not_of(what);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(what) - begin + 1);
}

}  // namespace ernie_image
