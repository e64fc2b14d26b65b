#include "server/origin_check.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "core/ascii.h"
#include "server/api_error.h"

namespace ernie_image {
namespace {

bool is_port(std::string_view text) {
  return !text.empty() && text.size() <= 5 &&
         std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c) != 0; });
}

/// Of name or address and port: user names, paths and escapes would be read differently by others.
bool is_host(std::string_view host) {
  const bool is_bracketed = host.starts_with('[');
  const std::size_t end = is_bracketed ? host.find(']') : host.find(':');
  if (is_bracketed && end == std::string_view::npos) return false;
  const std::size_t name_end = is_bracketed ? end + 1 : std::min(end, host.size());
  const std::string_view name = host.substr(0, name_end);
  const std::string_view rest = host.substr(name_end);
  const std::string_view others = is_bracketed ? "[]:." : "-._";
  return !name.empty() && std::ranges::all_of(name, [&](unsigned char c) {
    return std::isalnum(c) != 0 || others.find(static_cast<char>(c)) != std::string_view::npos;
  }) && (rest.empty() || (rest.front() == ':' && is_port(rest.substr(1))));
}

bool is_address(std::string name) {
  if (name.starts_with('[')) name = name.substr(1, name.size() - 2);
  unsigned char bytes[sizeof(in6_addr)];
  return ::inet_pton(AF_INET, name.c_str(), bytes) == 1 ||
         ::inet_pton(AF_INET6, name.c_str(), bytes) == 1;
}

bool has_host(const std::vector<std::string>& hosts, const std::string& name) {
  return std::ranges::find(hosts, name) != hosts.end();
}

bool is_allowed_host(const std::string& host, const std::vector<std::string>& allowed) {
  if (host.empty()) return allowed.empty();  // of HTTP/1.0
  const std::string name = host_name(host);
  return is_host(host) && (allowed.empty() || has_host(allowed, name) ||
                           (has_host(allowed, kAnyAddress) && is_address(name)));
}

}  // namespace

std::string host_name(const std::string& host) {
  if (host.starts_with('[')) return lower_case(host.substr(0, host.find(']') + 1));
  return lower_case(host.substr(0, host.find(':')));
}

void check_origin(const RequestHead& head, const std::vector<std::string>& allowed_hosts) {
  const std::string host = head.header("host");
  if (!is_allowed_host(host, allowed_hosts)) {
    throw ApiError(403, "this server is not known under that name; see --allowed-host", "Host",
                   "host_not_allowed");
  }
  const std::string origin = lower_case(head.header("origin"));
  const bool is_own = origin.empty() || origin == "http://" + lower_case(host) ||
                      origin == "https://" + lower_case(host);
  const bool only_reads = head.method == "GET" || head.method == "HEAD" || head.method == "OPTIONS";
  if (!is_own && !only_reads) {
    throw ApiError(403, "pages of other sites may not use this server", "Origin",
                   "origin_not_allowed");
  }
}

}  // namespace ernie_image
