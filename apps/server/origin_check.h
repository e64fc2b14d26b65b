// Against web pages of others that a browser on this machine shows: they may not use this server,
// neither by a name that they make resolve to this machine (DNS rebinding) nor by a form or script
// that sends a request without asking (CSRF).
#pragma once

#include <string>
#include <vector>

#include "server/request_head.h"

namespace ernie_image {

/// "localhost" of "localhost:7860", "[::1]" of "[::1]:7860", in lower case
std::string host_name(const std::string& host);

/// Among allowed hosts: every numeric address. No name leads to one, so that none can be made to.
inline constexpr const char* kAnyAddress = "an address";

/// Throws ApiError(403), also for a Host that is not a name or address with perhaps a port. Empty
/// `allowed_hosts` allow any of those.
void check_origin(const RequestHead& head, const std::vector<std::string>& allowed_hosts);

}  // namespace ernie_image
