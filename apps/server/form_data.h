// Bodies of the type multipart/form-data (RFC 7578), which clients send files in. The HTTP
// library's own reader (cpp-httplib 0.11) gives parts whose name is not quoted an empty one, does
// not tell a file from a field, takes 1024 parts, and copies each; this one gives views, and is
// fuzzed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ernie_image {

struct FormPart {
  std::string name;
  bool is_file = false;  ///< it has a file name
  std::string_view bytes;
};

/// Whether a Content-Type says so.
bool is_form_data(std::string_view content_type);

/// The parts, which are views into `body`. Hostile input: throws ApiError(400) for what is not
/// well-formed or has more than 64 parts.
std::vector<FormPart> parse_form_data(std::string_view content_type, std::string_view body);

}  // namespace ernie_image
