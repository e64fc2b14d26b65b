// One client's socket as the HTTP library reads and writes it: with limits on time and size, and
// behind the strict check of request_head.h.
#pragma once

#include <string>

#include <httplib.h>

#include "server/patience.h"
#include "server/request_head.h"

namespace ernie_image {

struct ConnectionLimits {
  std::chrono::milliseconds patience{10'000};  ///< for a head, for a body, for a response
  std::chrono::milliseconds idle{30'000};      ///< between two requests
  std::size_t bytes_per_second = 4 << 10;      ///< the slowest peer that is served
  std::size_t max_body_bytes = 1 << 20;        ///< of the route that takes the most
};

class Connection final : public httplib::Stream {
 public:
  /// `stop_fd` becomes readable when the server stops: waiting for a next request ends then.
  Connection(int socket, int stop_fd, const ConnectionLimits& limits);

  /// False: the peer is gone, was silent for too long, or the server stops.
  bool wait_for_request();

  /// Reads a head and makes it, then its body, what the library reads next. Throws ApiError; of
  /// nothing but a closed connection it returns false.
  bool read_head(RequestHead& head);

  /// Whether the whole body was read: what is left of it would be taken for the next request.
  bool body_is_read() const { return body_left_ == 0; }
  bool timed_out() const { return timed_out_; }
  std::size_t bytes_written() const { return bytes_written_; }

  /// Whether the peer has closed its side: nobody will read a response.
  bool peer_is_gone() const;

  /// Closes our side and swallows a little of what the peer still sends, so that it reads the last
  /// response rather than a reset.
  void linger();

  // httplib::Stream
  bool is_readable() const override { return true; }
  bool is_writable() const override { return !peer_is_gone(); }
  ssize_t read(char* target, std::size_t size) override;
  ssize_t write(const char* bytes, std::size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  /// More bytes into `received_`; false if there are none in time.
  bool receive(Patience& patience);
  bool wait(short events, Patience& patience);

  int socket_;
  int stop_fd_;
  ConnectionLimits limits_;
  Patience body_patience_;
  Patience write_patience_;
  std::string received_;  ///< from the socket, not yet used
  std::string head_;      ///< for the library
  std::size_t head_read_ = 0;
  std::uint64_t body_left_ = 0;
  std::size_t bytes_written_ = 0;
  bool timed_out_ = false;
};

}  // namespace ernie_image
