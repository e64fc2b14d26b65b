#include "server/request_head.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "core/ascii.h"
#include "server/api_error.h"

namespace ernie_image {
namespace {

// TRACE, CONNECT and the inventions of scanners end here; what is allowed at a path the router
// says.
constexpr std::array<std::string_view, 7> kMethods = {"GET",   "HEAD",   "POST",   "PUT",
                                                      "PATCH", "DELETE", "OPTIONS"};
// A second one of these would leave open which of the two counts.
constexpr std::array<std::string_view, 8> kOnlyOnce = {
    "host",   "content-length",  "content-type", "authorization",
    "origin", "idempotency-key", "expect",       "transfer-encoding"};
// All that the library needs. Left out with the rest: Range and Accept-Encoding, which it would act
// upon.
constexpr std::array<std::string_view, 3> kForwarded = {"host", "content-type", "expect"};

template <typename List>
bool contains(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

[[noreturn]] void refuse(const std::string& problem) {
  throw ApiError(400, "malformed request: " + problem);
}

bool is_token_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char);
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/// Every "%" begins an escape of something printable or of a byte of UTF-8.
void check_escapes(std::string_view target) {
  for (std::size_t i = 0; i < target.size(); ++i) {
    if (target[i] != '%') continue;
    const int high = i + 2 < target.size() ? hex_value(target[i + 1]) : -1;
    const int low = high < 0 ? -1 : hex_value(target[i + 2]);
    if (low < 0) refuse("an escape in its address is not % and two hexadecimal digits");
    const int value = high * 16 + low;
    if (value < 0x20 || value == 0x7f) refuse("an escaped control character in its address");
  }
}

void check_target(std::string_view target) {
  if (target.size() > kMaxTargetBytes) throw ApiError(414, "the address is too long");
  if (target.empty() || target[0] != '/') refuse("its address does not begin with /");
  const bool is_printable =
      std::all_of(target.begin(), target.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (!is_printable || target.find('#') != std::string_view::npos ||
      std::count(target.begin(), target.end(), '?') > 1) {
    refuse("its address holds a character that must be escaped");
  }
  check_escapes(target);
}

void parse_request_line(std::string_view line, RequestHead& head) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last)
    refuse("its first line has not three parts");
  head.method = line.substr(0, first);
  head.target = line.substr(first + 1, last - first - 1);
  head.version = line.substr(last + 1);
  if (!is_token(head.method)) refuse("its method is not a word");
  if (head.version != "HTTP/1.1" && head.version != "HTTP/1.0") {
    refuse("its version is not HTTP/1.1 or HTTP/1.0");
  }
  if (!contains(kMethods, head.method)) {
    ApiError error(405, "the method is not known", "", "method_not_allowed");
    error.allow = "GET, HEAD, POST, DELETE";
    throw error;
  }
  check_target(head.target);
}

void parse_header_line(std::string_view line, RequestHead& head) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
    refuse("a header's name is not a word and a colon");
  }
  std::string name = lower_case(line.substr(0, colon));
  const std::string_view value = stripped(line.substr(colon + 1), " \t");
  const bool is_clean = std::all_of(value.begin(), value.end(), [](char c) {
    return c == '\t' || (static_cast<unsigned char>(c) >= ' ' && c != 0x7f);
  });
  if (!is_clean) refuse("a header holds a control character");
  const bool is_second = std::any_of(head.headers.begin(), head.headers.end(),
                                     [&](const auto& header) { return header.first == name; });
  if (is_second && contains(kOnlyOnce, name)) refuse("its header " + name + " comes twice");
  if (head.headers.size() >= kMaxHeaders) throw ApiError(431, "the request has too many headers");
  head.headers.emplace_back(std::move(name), value);
}

std::uint64_t parse_length(const std::string& text) {
  const bool is_number =
      !text.empty() && text.size() <= 18 &&
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!is_number) refuse("its Content-Length is not a number");
  return std::stoull(text);
}

bool has(const RequestHead& head, std::string_view name) {
  return std::any_of(head.headers.begin(), head.headers.end(),
                     [&](const auto& header) { return header.first == name; });
}

void check_body(RequestHead& head) {
  if (has(head, "transfer-encoding")) {
    throw ApiError(411, "a body must come with its Content-Length, not in chunks");
  }
  if (has(head, "content-encoding")) {
    throw ApiError(415, "a body must come as it is, not compressed");
  }
  if (has(head, "content-length"))
    head.content_length = parse_length(head.header("content-length"));
}

/// Up to the next CRLF, which is dropped.
std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find("\r\n");
  if (end == std::string_view::npos) refuse("a line does not end with CR LF");
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end + 2);
  if (line.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos) {
    refuse("a lone CR, LF or zero byte");
  }
  return line;
}

}  // namespace

std::string RequestHead::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

RequestHead parse_request_head(std::string_view text) {
  RequestHead head;
  parse_request_line(take_line(text), head);
  while (true) {
    const std::string_view line = take_line(text);
    if (line.empty()) break;
    parse_header_line(line, head);
  }
  if (head.version == "HTTP/1.1" && !has(head, "host")) refuse("it has no Host");
  check_body(head);
  const std::string expect = lower_case(head.header("expect"));
  if (!expect.empty() && expect != "100-continue") {
    throw ApiError(417, "only 100-continue can be expected");
  }
  return head;
}

std::string media_type(std::string_view content_type) {
  return lower_case(content_type.substr(0, content_type.find_first_of("; \t")));
}

bool keeps_alive(const RequestHead& head) {
  return head.version == "HTTP/1.1" &&
         lower_case(head.header("connection")).find("close") == std::string::npos;
}

std::string forwarded_head(const RequestHead& head) {
  std::string text = head.method + " " + head.target + " " + head.version + "\r\n";
  for (const auto& [name, value] : head.headers) {
    if (!contains(kForwarded, name) || value.empty()) continue;
    text += name + ": ";
    // The library would take a form apart itself.
    const bool is_form = name == "content-type" && media_type(value).starts_with("multipart/");
    for (const char c : is_form ? std::string("application/octet-stream") : value) {
      if (c == '%') {
        text += "%25";  // the library decodes escapes in values
      } else {
        text += c;
      }
    }
    text += "\r\n";
  }
  if (!keeps_alive(head)) text += "connection: close\r\n";
  // Always said: without it the library would read a body up to the end of the connection.
  text += "content-length: " + std::to_string(head.content_length) + "\r\n\r\n";
  return text;
}

}  // namespace ernie_image
