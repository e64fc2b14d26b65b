#include "server/http_server.h"

#include <cerrno>
#include <cstring>

#include <sys/socket.h>
#include <unistd.h>

#include "jobs/store_patience.h"
#include "server/log.h"
#include "server/router.h"

namespace ernie_image {
namespace {

constexpr std::chrono::milliseconds kStorePatience{1800};  // a client is told within two seconds
constexpr int kBacklog = 1024;  // connections that wait to be accepted; the library's own is 5

/// What the library's callbacks, which know only its own types, are about. Everything of one
/// request happens on one thread.
struct Current {
  Exchange* exchange = nullptr;
  int status = 0;
  std::string failure;
};
thread_local Current current;

std::string what(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "something that is no exception";
  }
}

void set_error(httplib::Response& response, const ApiError& error, Exchange& exchange) {
  response.status = error.status;
  const bool is_text = exchange.route != nullptr && exchange.route->has_plain_errors;
  response.set_content(is_text ? plain_error_body(error) : error_body(error), "application/json");
  exchange.connection.set_reason(reason_phrase(error));
  if (error.is_final) response.set_header("x-should-retry", "false");
  if (error.retry_after_seconds > 0) {
    response.set_header("Retry-After", std::to_string(error.retry_after_seconds));
  }
  if (!error.allow.empty()) response.set_header("Allow", error.allow);
  if (error.status == 401) response.set_header("WWW-Authenticate", "Bearer");
}

/// Counts what is alive.
class Counted {
 public:
  explicit Counted(std::atomic<int>& count) : count_(count) { ++count_; }
  ~Counted() { --count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  std::atomic<int>& count_;
};

}  // namespace

HttpServer::HttpServer(HttpApplication& application, const HttpLimits& limits)
    : application_(application), limits_(limits), listener_(*this, limits) {
  set_payload_max_length(limits_.connection.max_body_bytes);
  // Not SO_REUSEPORT, the library's default: it lets a second server take half of the connections.
  set_socket_options([](socket_t socket) {
    const int yes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  install_handlers();
}

HttpServer::~HttpServer() {
  const socket_t socket = svr_sock_.exchange(INVALID_SOCKET);
  if (socket != INVALID_SOCKET) ::close(socket);
}

void HttpServer::install_handlers() {
  set_pre_routing_handler([this](const httplib::Request& request, httplib::Response&) {
    Exchange& exchange = *current.exchange;
    exchange.request = &request;
    application_.admit(exchange);
    return HandlerResponse::Unhandled;
  });
  const auto respond = [this](const httplib::Request&, httplib::Response& response) {
    application_.respond(*current.exchange, response);
  };
  Get("/.*", respond).Post("/.*", respond).Put("/.*", respond);
  Delete("/.*", respond).Patch("/.*", respond).Options("/.*", respond);
  set_exception_handler(
      [this](const httplib::Request&, httplib::Response& response, std::exception_ptr thrown) {
        const ApiError error = api_error_of(thrown);
        if (error.status >= 500) current.failure = what(thrown);
        set_error(response, error, *current.exchange);
      });
  set_error_handler([this](const httplib::Request&, httplib::Response& response) {
    if (!response.body.empty()) return;
    // The library's own: a body that did not arrive, as far as request_head.h lets anything else.
    const bool is_late = current.exchange->connection.timed_out();
    set_error(response,
              is_late ? ApiError(408, "the request's body did not arrive in time")
                      : ApiError(response.status, "the request could not be read"),
              *current.exchange);
  });
  set_post_routing_handler([](const httplib::Request&, httplib::Response& response) {
    current.status = response.status;
    response.set_header("X-Request-Id", current.exchange->id);
    response.set_header("X-Content-Type-Options", "nosniff");
    response.headers.erase("Keep-Alive");
    if (response.status == 204) response.headers.erase("Content-Length");
    if (!current.exchange->connection.body_is_read()) {
      response.headers.erase("Connection");
      response.set_header("Connection", "close");
    }
  });
}

void HttpServer::refuse(Connection& connection, const RequestHead* head, const ApiError& error) {
  const RequestHead given = head == nullptr ? RequestHead() : *head;
  const Exchange exchange = {connection, given, request_id(given),
                             std::chrono::steady_clock::now()};
  const std::string body = error_body(error);
  std::string text = "HTTP/1.1 " + std::to_string(error.status) + " " + reason_phrase(error) +
                     "\r\nContent-Type: application/json\r\nConnection: close\r\n"
                     "X-Content-Type-Options: nosniff\r\nX-Request-Id: " +
                     exchange.id + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  if (!error.allow.empty()) text += "Allow: " + error.allow + "\r\n";
  if (error.retry_after_seconds > 0) {
    text += "Retry-After: " + std::to_string(error.retry_after_seconds) + "\r\n";
  }
  text += "\r\n" + body;
  for (std::size_t sent = 0; sent < text.size();) {
    const ssize_t written = connection.write(text.data() + sent, text.size() - sent);
    if (written <= 0) break;
    sent += static_cast<std::size_t>(written);
  }
  application_.finished(exchange, error.status, "");
}

bool HttpServer::is_answered_at_once(const RequestHead& head) const {
  return application_.is_answered_at_once(head);
}

AfterRequest HttpServer::serve(Connection& connection, const RequestHead& head) {
  const Counted active(active_requests_);
  const StorePatience patience(kStorePatience);
  try {
    Exchange exchange = {connection, head, request_id(head), std::chrono::steady_clock::now()};
    return process(exchange);
  } catch (...) {
    // Of the library or of the log, which have no other way to say that memory is short.
    current = {};
    return AfterRequest::close;
  }
}

AfterRequest HttpServer::process(Exchange& exchange) {
  current = {&exchange, 0, ""};
  bool is_closed = false;
  const bool is_written =
      process_request(exchange.connection, !keeps_alive(exchange.head), is_closed, nullptr);
  application_.finished(exchange, current.status, current.failure);
  current = {};
  if (!exchange.connection.body_is_read()) return AfterRequest::linger;
  return is_written && !is_closed ? AfterRequest::wait_for_next : AfterRequest::close;
}

int HttpServer::bind(const std::string& host, int port) {
  errno = 0;
  int bound = port;
  if (port == 0) {
    bound = bind_to_any_port(host);
  } else if (!bind_to_port(host, port)) {
    bound = -1;
  }
  if (bound < 0) {
    const int number = errno;
    const std::string reason = number == 0 ? "no such address" : std::strerror(number);
    const char* const advice =
        number == EADDRINUSE ? "; name another port, or --port 0 for any that is free" : "";
    throw Error(ErrorKind::io, "cannot listen at " + host + " port " + std::to_string(port) + ": " +
                                   reason + advice);
  }
  ::listen(svr_sock_, kBacklog);
  return bound;
}

void HttpServer::serve() { listener_.run(svr_sock_); }

}  // namespace ernie_image
