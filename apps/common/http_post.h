// One HTTP POST.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ernie_image/cancel.h"

namespace ernie_image {

struct HttpRequest {
  std::string url;
  std::string shown_url;             ///< `url` as it may appear in messages
  std::vector<std::string> headers;  ///< "Name: value"
  std::string body;
  int timeout_seconds = 300;  ///< of the whole exchange; connecting alone may take 10
  std::shared_ptr<const CancelToken> cancel;
};

struct HttpResponse {
  long status = 0;
  std::string body;
};

/// Never follows a redirect: the answer is then one with a status of 3xx. Throws Error(io) if there
/// is no whole answer of at most 8 MiB in time, Error(cancelled).
HttpResponse http_post(const HttpRequest& request);

}  // namespace ernie_image
