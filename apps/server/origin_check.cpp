#include "server/origin_check.h"

#include <algorithm>
#include <cctype>

#include "server/api_error.h"

namespace ernie_image {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

std::string host_name(const std::string& host) {
  if (host.starts_with('[')) return lower(host.substr(0, host.find(']') + 1));
  return lower(host.substr(0, host.find(':')));
}

void check_origin(const RequestHead& head, const std::vector<std::string>& allowed_hosts) {
  const std::string host = head.header("host");
  const bool is_allowed =
      allowed_hosts.empty() ||
      std::find(allowed_hosts.begin(), allowed_hosts.end(), host_name(host)) != allowed_hosts.end();
  if (!is_allowed) {
    throw ApiError(403, "this server is not known under that name; see --allowed-host", "Host",
                   "host_not_allowed");
  }
  const std::string origin = lower(head.header("origin"));
  const bool is_own =
      origin.empty() || origin == "http://" + lower(host) || origin == "https://" + lower(host);
  const bool only_reads = head.method == "GET" || head.method == "HEAD" || head.method == "OPTIONS";
  if (!is_own && !only_reads) {
    throw ApiError(403, "pages of other sites may not use this server", "Origin",
                   "origin_not_allowed");
  }
}

}  // namespace ernie_image
