// The first lines of an HTTP request, checked strictly before the HTTP library sees them.
//
// The library (cpp-httplib 0.11) reads lines without a limit, decodes header values, matches some
// of them with recursive regular expressions and reads bodies whose length nobody gave. So only
// heads without any of that get to it, with only the headers that our routes read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ernie_image {

inline constexpr std::size_t kMaxHeadBytes = 16 << 10;
inline constexpr std::size_t kMaxTargetBytes = 2048;
inline constexpr std::size_t kMaxHeaders = 100;

struct RequestHead {
  std::string method;
  std::string target;   ///< "/v1/jobs?limit=3": printable ASCII, escapes well-formed
  std::string version;  ///< "HTTP/1.1" or "HTTP/1.0"
  std::vector<std::pair<std::string, std::string>> headers;  ///< names in lower case
  std::uint64_t content_length = 0;

  /// Empty if there is none. `name` in lower case.
  std::string header(std::string_view name) const;
};

/// `text` is everything up to and including the empty line. Throws ApiError.
RequestHead parse_request_head(std::string_view text);

/// "multipart/form-data" of "Multipart/Form-Data; boundary=x".
std::string media_type(std::string_view content_type);

/// Whether another request may follow on the same connection.
bool keeps_alive(const RequestHead& head);

/// The head as the library is to read it.
std::string forwarded_head(const RequestHead& head);

}  // namespace ernie_image
