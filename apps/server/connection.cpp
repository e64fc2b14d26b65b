#include "server/connection.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include "server/api_error.h"

namespace ernie_image {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kReadBytes = 16 << 10;

Patience patience_of(const ConnectionLimits& limits) {
  return {limits.patience, limits.bytes_per_second};
}

void name_peer(int result, const sockaddr_storage& address, socklen_t size, std::string& ip,
               int& port) {
  char host[NI_MAXHOST] = "";
  char service[NI_MAXSERV] = "";
  if (result != 0 ||
      getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof host, service,
                  sizeof service, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return;
  }
  ip = host;
  port = std::atoi(service);
}

std::string group_of(const std::string& ip) {
  in6_addr address = {};
  if (::inet_pton(AF_INET6, ip.c_str(), &address) != 1 || IN6_IS_ADDR_V4MAPPED(&address)) return ip;
  return {reinterpret_cast<const char*>(&address), sizeof address / 2};
}

bool would_wait(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

/// A response that begins with "HTTP/1.1 404 Not Found".
std::string with_reason(std::string_view response, const std::string& reason) {
  constexpr std::size_t kStatusChars = 13;  // "HTTP/1.1 404 "
  const std::size_t end = response.find("\r\n");
  if (end == std::string_view::npos || end < kStatusChars) return std::string(response);
  return std::string(response.substr(0, kStatusChars)) + reason + std::string(response.substr(end));
}

}  // namespace

Connection::Connection(FileDescriptor socket, const ConnectionLimits& limits)
    : socket_(std::move(socket)),
      limits_(limits),
      body_patience_(patience_of(limits)),
      write_patience_(patience_of(limits)) {
  int port = 0;
  get_remote_ip_and_port(client_, port);
  client_group_ = group_of(client_);
}

bool Connection::wait(short events, Patience& patience) {
  const auto start = Clock::now();
  const auto left = std::max<std::chrono::milliseconds::rep>(0, patience.left().count());
  pollfd poller = {socket_.get(), events, 0};
  blocked_since_ = start.time_since_epoch().count();
  const int ready = ::poll(&poller, 1, static_cast<int>(left));
  blocked_since_ = 0;
  patience.waited(Clock::now() - start);
  if (ready == 0) timed_out_ = true;
  return ready > 0 || (ready < 0 && errno == EINTR);
}

std::optional<Connection::Time> Connection::blocked_since() const {
  const Time::rep since = blocked_since_;
  if (since == 0) return std::nullopt;
  return Time(Time::duration(since));
}

bool Connection::receive(Patience& patience) {
  char bytes[kReadBytes];
  while (true) {
    const ssize_t size = ::recv(socket_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (size > 0) {
      received_.append(bytes, static_cast<std::size_t>(size));
      patience.moved(static_cast<std::size_t>(size));
      return true;
    }
    if (size == 0 || !would_wait(errno)) return false;
    if (!wait(POLLIN, patience)) return false;
  }
}

bool Connection::receive_available() {
  char bytes[kReadBytes];
  while (received_.size() <= kMaxHeadBytes) {
    const ssize_t size = ::recv(socket_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (size <= 0) return size < 0 && would_wait(errno);
    received_.append(bytes, static_cast<std::size_t>(size));
  }
  return true;
}

std::optional<std::size_t> Connection::discard_available() {
  std::size_t discarded = received_.size();
  received_.clear();
  char bytes[kReadBytes];
  const ssize_t size = ::recv(socket_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
  if (size == 0 || (size < 0 && !would_wait(errno))) return std::nullopt;
  if (size > 0) discarded += static_cast<std::size_t>(size);
  return discarded;
}

bool Connection::has_head() {
  const std::size_t end = received_.find("\r\n\r\n", searched_);
  if (end == std::string::npos) searched_ = received_.size() < 3 ? 0 : received_.size() - 3;
  return end != std::string::npos || received_.size() > kMaxHeadBytes;
}

RequestHead Connection::read_head() {
  head_.clear();
  head_read_ = 0;
  body_left_ = 0;
  timed_out_ = false;
  bytes_written_ = 0;
  body_patience_ = patience_of(limits_);
  write_patience_ = patience_of(limits_);

  const std::size_t end = received_.find("\r\n\r\n", searched_);
  searched_ = 0;
  if (end == std::string::npos || end + 4 > kMaxHeadBytes) {
    const bool is_first_line = received_.find("\r\n") == std::string::npos;
    throw ApiError(is_first_line ? 414 : 431, "the request's head is larger than 16 KiB");
  }
  RequestHead head = parse_request_head(std::string_view(received_).substr(0, end + 4));
  received_.erase(0, end + 4);
  if (head.content_length > limits_.max_body_bytes) {
    throw ApiError(413, "the request's body is larger than " +
                            std::to_string(limits_.max_body_bytes) + " bytes");
  }
  head_ = forwarded_head(head);
  body_left_ = head.content_length;
  return head;
}

void Connection::do_not_wait() {
  body_patience_ = write_patience_ = Patience(std::chrono::milliseconds(0), SIZE_MAX);
}

ssize_t Connection::read(char* target, std::size_t size) {
  if (head_read_ < head_.size()) {
    const std::size_t count = head_.copy(target, size, head_read_);
    head_read_ += count;
    return static_cast<ssize_t>(count);
  }
  if (body_left_ == 0) return 0;
  if (received_.empty() && !receive(body_patience_)) return -1;
  const std::size_t count = std::min({size, received_.size(), std::size_t{body_left_}});
  std::memcpy(target, received_.data(), count);
  received_.erase(0, count);
  body_left_ -= count;
  return static_cast<ssize_t>(count);
}

ssize_t Connection::write(const char* bytes, std::size_t size) {
  if (reason_.empty()) return send_some(bytes, size);
  const std::string text = with_reason({bytes, size}, std::exchange(reason_, ""));
  for (std::size_t sent = 0; sent < text.size();) {
    const ssize_t written = send_some(text.data() + sent, text.size() - sent);
    if (written <= 0) return -1;
    sent += static_cast<std::size_t>(written);
  }
  return static_cast<ssize_t>(size);
}

ssize_t Connection::send_some(const char* bytes, std::size_t size) {
  while (true) {
    const ssize_t written = ::send(socket_.get(), bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (written >= 0) {
      bytes_written_ += static_cast<std::size_t>(written);
      write_patience_.moved(static_cast<std::size_t>(written));
      return written;
    }
    if (!would_wait(errno)) return -1;
    if (!wait(POLLOUT, write_patience_)) return -1;
  }
}

bool Connection::peer_is_gone() const {
  char byte;
  const ssize_t size = ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return size == 0 || (size < 0 && !would_wait(errno));
}

void Connection::abort() { ::shutdown(socket_.get(), SHUT_RDWR); }

void Connection::end_writing() { ::shutdown(socket_.get(), SHUT_WR); }

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  const int result = ::getpeername(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size);
  name_peer(result, address, size, ip, port);
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  const int result = ::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size);
  name_peer(result, address, size, ip, port);
}

}  // namespace ernie_image
