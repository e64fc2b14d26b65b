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

/// Throws ApiError(403). Empty `allowed_hosts` allow any.
void check_origin(const RequestHead& head, const std::vector<std::string>& allowed_hosts);

}  // namespace ernie_image
