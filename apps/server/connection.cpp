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
constexpr std::chrono::milliseconds kLinger{1000};
constexpr std::size_t kLingerBytes = 1 << 20;

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

}  // namespace

Connection::Connection(int socket, int stop_fd, const ConnectionLimits& limits)
    : socket_(socket),
      stop_fd_(stop_fd),
      limits_(limits),
      body_patience_(patience_of(limits)),
      write_patience_(patience_of(limits)) {}

bool Connection::wait(short events, Patience& patience) {
  const auto start = Clock::now();
  const auto left = std::max<std::chrono::milliseconds::rep>(0, patience.left().count());
  pollfd poller = {socket_, events, 0};
  const int ready = ::poll(&poller, 1, static_cast<int>(left));
  patience.waited(Clock::now() - start);
  if (ready == 0) timed_out_ = true;
  return ready > 0 || (ready < 0 && errno == EINTR);
}

bool Connection::receive(Patience& patience) {
  char bytes[kReadBytes];
  while (true) {
    const ssize_t size = ::recv(socket_, bytes, sizeof bytes, MSG_DONTWAIT);
    if (size > 0) {
      received_.append(bytes, static_cast<std::size_t>(size));
      patience.moved(static_cast<std::size_t>(size));
      return true;
    }
    if (size == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) return false;
    if (!wait(POLLIN, patience)) return false;
  }
}

bool Connection::wait_for_request() {
  if (!received_.empty()) return true;
  pollfd pollers[] = {{socket_, POLLIN, 0}, {stop_fd_, POLLIN, 0}};
  const int ready = ::poll(pollers, 2, static_cast<int>(limits_.idle.count()));
  return ready > 0 && pollers[1].revents == 0 && (pollers[0].revents & POLLIN) != 0;
}

bool Connection::read_head(RequestHead& head) {
  head_.clear();
  head_read_ = 0;
  body_left_ = 0;
  timed_out_ = false;
  bytes_written_ = 0;
  body_patience_ = patience_of(limits_);
  write_patience_ = patience_of(limits_);

  // A head is short: its bytes buy no time.
  Patience patience(limits_.patience, SIZE_MAX);
  std::size_t searched = 0;
  std::size_t end;
  while ((end = received_.find("\r\n\r\n", searched)) == std::string::npos) {
    if (received_.size() > kMaxHeadBytes) {
      const bool is_first_line = received_.find("\r\n") == std::string::npos;
      throw ApiError(is_first_line ? 414 : 431, "the request's head is larger than 16 KiB");
    }
    searched = received_.size() < 3 ? 0 : received_.size() - 3;
    if (receive(patience)) continue;
    if (timed_out_) throw ApiError(408, "the request did not arrive in time");
    return false;
  }
  if (end + 4 > kMaxHeadBytes) throw ApiError(431, "the request's head is larger than 16 KiB");
  head = parse_request_head(std::string_view(received_).substr(0, end + 4));
  received_.erase(0, end + 4);
  if (head.content_length > limits_.max_body_bytes) {
    throw ApiError(413, "the request's body is larger than " +
                            std::to_string(limits_.max_body_bytes) + " bytes");
  }
  head_ = forwarded_head(head);
  body_left_ = head.content_length;
  return true;
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
  while (true) {
    const ssize_t written = ::send(socket_, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (written >= 0) {
      bytes_written_ += static_cast<std::size_t>(written);
      write_patience_.moved(static_cast<std::size_t>(written));
      return written;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return -1;
    if (!wait(POLLOUT, write_patience_)) return -1;
  }
}

bool Connection::peer_is_gone() const {
  char byte;
  const ssize_t size = ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return size == 0 || (size < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

void Connection::linger() {
  ::shutdown(socket_, SHUT_WR);
  Patience patience(kLinger, SIZE_MAX);
  std::size_t swallowed = 0;
  do {
    swallowed += received_.size();
    received_.clear();
  } while (swallowed < kLingerBytes && patience.left().count() > 0 && receive(patience));
}

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  const int result = ::getpeername(socket_, reinterpret_cast<sockaddr*>(&address), &size);
  name_peer(result, address, size, ip, port);
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  const int result = ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
  name_peer(result, address, size, ip, port);
}

}  // namespace ernie_image
