// The server's application: all routes, and what every request must pass before one of them.
#pragma once

#include "server/http_server.h"
#include "server/router.h"
#include "server/service.h"

namespace ernie_image {

/// The largest body that any route takes.
inline constexpr std::size_t kMaxBodyBytes = kMaxUploadBytes;

class Application final : public HttpApplication {
 public:
  /// `service` must outlive it.
  explicit Application(Service& service);

  bool is_answered_at_once(const RequestHead& head) const override;
  void admit(Exchange& exchange) override;
  void respond(Exchange& exchange, httplib::Response& response) override;
  void finished(const Exchange& exchange, int status, const std::string& failure) override;

 private:
  void check_key(Exchange& exchange) const;

  Service& service_;
  Router router_;
};

}  // namespace ernie_image
