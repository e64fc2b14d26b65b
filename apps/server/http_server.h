// The HTTP server: connections, limits and what is common to all responses; what a request means is
// its handler's business.
#pragma once

#include <atomic>
#include <string>

#include <httplib.h>

#include "server/api_error.h"
#include "server/connection.h"
#include "server/exchange.h"

namespace ernie_image {

struct HttpLimits {
  ConnectionLimits connection;
  std::size_t max_connections = 512;
};

/// What the server asks of the application.
class HttpApplication {
 public:
  virtual ~HttpApplication() = default;
  /// Before the body is read: finds the route, checks the key. Throws ApiError.
  virtual void admit(Exchange& exchange) = 0;
  /// Makes the response. Throws ApiError, or anything else.
  virtual void respond(Exchange& exchange, httplib::Response& response) = 0;
  /// After the response; also of requests that were refused before `admit`. `failure` is for the
  /// log alone.
  virtual void finished(const Exchange& exchange, int status, const std::string& failure) = 0;
};

class HttpServer final : public httplib::Server {
 public:
  HttpServer(HttpApplication& application, const HttpLimits& limits);
  ~HttpServer() override;

  /// Port 0 takes any free one; gives the port. Throws Error(io).
  int bind(const std::string& host, int port);

  /// Serves until `stop`, then ends what is under way.
  void serve();

  /// From any thread, once.
  void stop_serving();

  /// Requests that have begun and not ended.
  int active_requests() const { return active_requests_; }

 private:
  bool process_and_close_socket(socket_t socket) override;
  /// False: the connection ends.
  bool serve_request(Connection& connection);
  void turn_away(Connection& connection);
  /// Before the library has a hand in it.
  void write_error(Exchange& exchange, const ApiError& error);
  void install_handlers();

  HttpApplication& application_;
  HttpLimits limits_;
  int stop_pipe_[2] = {-1, -1};
  socket_t stopped_socket_ = INVALID_SOCKET;
  std::atomic<int> active_requests_ = 0;
};

}  // namespace ernie_image
