#include "server/http_server.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/connection_pool.h"

namespace ernie_image {
namespace {

constexpr int kBacklog = 1024;  // connections that wait to be accepted; the library's own is 5
constexpr int kTurnAwayMs = 100;

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

void set_error(httplib::Response& response, const ApiError& error) {
  response.status = error.status;
  response.set_content(error_body(error), "application/json");
  if (error.retry_after_seconds > 0) {
    response.set_header("Retry-After", std::to_string(error.retry_after_seconds));
  }
  if (!error.allow.empty()) response.set_header("Allow", error.allow);
  if (error.status == 401) response.set_header("WWW-Authenticate", "Bearer");
}

void close_socket(int socket) {
  ::shutdown(socket, SHUT_RDWR);
  ::close(socket);
}

}  // namespace

HttpServer::HttpServer(HttpApplication& application, const HttpLimits& limits)
    : application_(application), limits_(limits) {
  if (::pipe2(stop_pipe_, O_CLOEXEC | O_NONBLOCK) != 0) {
    throw Error(ErrorKind::io, std::string("cannot make a pipe: ") + std::strerror(errno));
  }
  new_task_queue = [this] { return new ConnectionPool(limits_.max_connections); };
  set_payload_max_length(limits_.connection.max_body_bytes);
  set_tcp_nodelay(true);
  // Not SO_REUSEPORT, the library's default: it lets a second server take half of the connections.
  set_socket_options([](socket_t socket) {
    const int yes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  install_handlers();
}

HttpServer::~HttpServer() {
  if (stopped_socket_ != INVALID_SOCKET) ::close(stopped_socket_);
  ::close(stop_pipe_[0]);
  ::close(stop_pipe_[1]);
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
        set_error(response, error);
      });
  set_error_handler([this](const httplib::Request&, httplib::Response& response) {
    if (!response.body.empty()) return;
    // The library's own: a body that did not arrive, as far as request_head.h lets anything else.
    const bool is_late = current.exchange->connection.timed_out();
    set_error(response, is_late ? ApiError(408, "the request's body did not arrive in time")
                                : ApiError(response.status, "the request could not be read"));
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

void HttpServer::write_error(Exchange& exchange, const ApiError& error) {
  const std::string body = error_body(error);
  std::string text = "HTTP/1.1 " + std::to_string(error.status) +
                     " Refused\r\nContent-Type: application/json\r\nConnection: close\r\n"
                     "X-Content-Type-Options: nosniff\r\nX-Request-Id: " +
                     exchange.id + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  if (!error.allow.empty()) text += "Allow: " + error.allow + "\r\n";
  if (error.retry_after_seconds > 0) {
    text += "Retry-After: " + std::to_string(error.retry_after_seconds) + "\r\n";
  }
  text += "\r\n" + body;
  for (std::size_t sent = 0; sent < text.size();) {
    const ssize_t written = exchange.connection.write(text.data() + sent, text.size() - sent);
    if (written <= 0) break;
    sent += static_cast<std::size_t>(written);
  }
  application_.finished(exchange, error.status, "");
}

bool HttpServer::serve_request(Connection& connection) {
  Exchange exchange = {connection, {}, request_id({}), std::chrono::steady_clock::now()};
  try {
    if (!connection.read_head(exchange.head)) return false;
  } catch (const ApiError& error) {
    write_error(exchange, error);
    connection.linger();
    return false;
  }
  exchange.id = request_id(exchange.head);
  ++active_requests_;
  current = {&exchange, 0, ""};
  bool is_closed = false;
  const bool is_written =
      process_request(connection, !keeps_alive(exchange.head), is_closed, nullptr);
  application_.finished(exchange, current.status, current.failure);
  current = {};
  --active_requests_;
  if (!connection.body_is_read()) {
    connection.linger();
    return false;
  }
  return is_written && !is_closed;
}

void HttpServer::turn_away(Connection& connection) {
  // Closing with an unread request would make a reset of it that overtakes the response.
  pollfd poller = {connection.socket(), POLLIN, 0};
  ::poll(&poller, 1, kTurnAwayMs);
  char bytes[16 << 10];
  (void)::recv(connection.socket(), bytes, sizeof bytes, MSG_DONTWAIT);
  Exchange exchange = {connection, {}, request_id({}), std::chrono::steady_clock::now()};
  ApiError error(503, "the server has as many connections as it can serve", "", "overloaded");
  error.retry_after_seconds = 1;
  write_error(exchange, error);
}

bool HttpServer::process_and_close_socket(socket_t socket) {
  const ConnectionPool::Task task = ConnectionPool::task();
  if (task != ConnectionPool::Task::drop) {
    Connection connection(socket, stop_pipe_[0], limits_.connection);
    if (task == ConnectionPool::Task::turn_away) {
      turn_away(connection);
    } else {
      while (connection.wait_for_request() && serve_request(connection)) {
      }
    }
  }
  close_socket(socket);
  return true;
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
    const std::string reason = errno == 0 ? "no such address" : std::strerror(errno);
    throw Error(ErrorKind::io,
                "cannot listen at " + host + " port " + std::to_string(port) + ": " + reason);
  }
  ::listen(svr_sock_, kBacklog);
  return bound;
}

void HttpServer::serve() { listen_after_bind(); }

void HttpServer::stop_serving() {
  const char byte = 0;
  (void)!::write(stop_pipe_[1], &byte, 1);
  // What the library's stop() does, which does nothing before the server has begun, and closes a
  // socket that another thread may be about to use.
  stopped_socket_ = svr_sock_.exchange(INVALID_SOCKET);
  if (stopped_socket_ != INVALID_SOCKET) ::shutdown(stopped_socket_, SHUT_RDWR);
}

}  // namespace ernie_image
