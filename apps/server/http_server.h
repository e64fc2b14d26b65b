// The HTTP server: requests, limits and what is common to all responses; what a request means is
// its handler's business.
#pragma once

#include <atomic>
#include <string>

#include <httplib.h>

#include "server/api_error.h"
#include "server/connection.h"
#include "server/exchange.h"
#include "server/listener.h"

namespace ernie_image {

/// What the server asks of the application.
class HttpApplication {
 public:
  virtual ~HttpApplication() = default;
  /// Requests that need nothing that could be waited for.
  virtual bool is_answered_at_once(const RequestHead& head) const = 0;
  /// Before the body is read: finds the route, checks the key. Throws ApiError.
  virtual void admit(Exchange& exchange) = 0;
  /// Makes the response. Throws ApiError, or anything else.
  virtual void respond(Exchange& exchange, httplib::Response& response) = 0;
  /// After the response; also of requests that were refused before `admit`. `failure` is for the
  /// log alone.
  virtual void finished(const Exchange& exchange, int status, const std::string& failure) = 0;
};

class HttpServer final : public httplib::Server, private RequestServer {
 public:
  HttpServer(HttpApplication& application, const HttpLimits& limits);
  ~HttpServer() override;

  /// Port 0 takes any free one; gives the port. Throws Error(io).
  int bind(const std::string& host, int port);

  /// Serves until `stop_serving`, then ends what is under way. Throws Error(io) if the system ends
  /// it before.
  void serve();

  /// From any thread, once.
  void stop_serving() { listener_.stop(); }

  /// Requests that have begun and not ended.
  int active_requests() const { return active_requests_; }

 private:
  bool is_answered_at_once(const RequestHead& head) const override;
  AfterRequest serve(Connection& connection, const RequestHead& head) override;
  void refuse(Connection& connection, const RequestHead* head, const ApiError& error) override;

  AfterRequest process(Exchange& exchange);
  void install_handlers();

  HttpApplication& application_;
  HttpLimits limits_;
  std::atomic<int> active_requests_ = 0;
  Listener listener_;
};

}  // namespace ernie_image
