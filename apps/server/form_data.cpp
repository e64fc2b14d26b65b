#include "server/form_data.h"

#include <algorithm>
#include <optional>

#include "core/ascii.h"
#include "server/api_error.h"
#include "server/request_head.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxParts = 64;
constexpr std::size_t kMaxPartHeadBytes = 4 << 10;
constexpr std::size_t kMaxBoundaryChars = 70;  // RFC 2046
constexpr std::string_view kLineEnd = "\r\n";

[[noreturn]] void refuse_form(const std::string& problem) {
  throw ApiError(400, "malformed multipart/form-data: " + problem);
}

/// The value of `name=value` or `name="value"` after a semicolon.
std::optional<std::string> parameter(std::string_view header, std::string_view name) {
  for (std::size_t at = header.find(';'); at != std::string_view::npos; at = header.find(';', at)) {
    at = header.find_first_not_of("; \t", at);
    if (at == std::string_view::npos) break;
    const std::size_t equals = header.find('=', at);
    if (equals == std::string_view::npos) break;
    const bool is_wanted = lower_case(header.substr(at, equals - at)) == name;
    const bool is_quoted = equals + 1 < header.size() && header[equals + 1] == '"';
    const std::size_t begin = equals + (is_quoted ? 2 : 1);
    const std::size_t end = header.find(is_quoted ? '"' : ';', begin);
    if (is_quoted && end == std::string_view::npos) refuse_form("a quote is not closed");
    if (is_wanted) return std::string(header.substr(begin, end - begin));
    if (end == std::string_view::npos) break;
    at = end + (is_quoted ? 1 : 0);
  }
  return std::nullopt;
}

/// Takes the text up to `end`, and `end` itself, from `rest`.
std::optional<std::string_view> taken_until(std::string_view& rest, std::string_view end) {
  const std::size_t found = rest.find(end);
  if (found == std::string_view::npos) return std::nullopt;
  const std::string_view text = rest.substr(0, found);
  rest.remove_prefix(found + end.size());
  return text;
}

/// What the head of a part says of it.
FormPart part_of_head(std::string_view head) {
  FormPart part;
  bool is_named = false;
  while (!head.empty()) {
    const std::size_t end = std::min(head.find(kLineEnd), head.size());
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(std::min(end + kLineEnd.size(), head.size()));
    if (!lower_case(line).starts_with("content-disposition:")) continue;
    const auto name = parameter(line, "name");
    if (!name) break;
    part.name = *name;
    part.is_file = parameter(line, "filename").has_value();
    is_named = true;
  }
  if (!is_named) refuse_form("a part has no name");
  return part;
}

}  // namespace

bool is_form_data(std::string_view content_type) {
  return media_type(content_type) == "multipart/form-data";
}

std::vector<FormPart> parse_form_data(std::string_view content_type, std::string_view body) {
  const std::string boundary = parameter(content_type, "boundary").value_or("");
  if (boundary.empty() || boundary.size() > kMaxBoundaryChars)
    refuse_form("the boundary must have 1 to 70 characters");
  const std::string delimiter = "\r\n--" + boundary;
  std::string_view rest = body;
  // The first one need not come after a line.
  if (rest.starts_with(delimiter.substr(kLineEnd.size()))) {
    rest.remove_prefix(delimiter.size() - kLineEnd.size());
  } else if (!taken_until(rest, delimiter)) {
    refuse_form("its boundary is not there");
  }
  std::vector<FormPart> parts;
  while (!rest.starts_with("--")) {
    if (parts.size() == kMaxParts) refuse_form("more than 64 parts");
    if (!rest.starts_with(kLineEnd)) refuse_form("a boundary is not followed by a line end");
    rest.remove_prefix(kLineEnd.size());
    const auto head = taken_until(rest, "\r\n\r\n");
    if (!head || head->size() > kMaxPartHeadBytes) refuse_form("a part has no head, or a long one");
    FormPart part = part_of_head(*head);
    const auto bytes = taken_until(rest, delimiter);
    if (!bytes) refuse_form("it is cut short");
    part.bytes = *bytes;
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace ernie_image
