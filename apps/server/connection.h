// One client's socket as the HTTP library reads and writes it: with limits on time and size, and
// behind the strict check of request_head.h.
#pragma once

#include <atomic>
#include <optional>
#include <string>

#include <httplib.h>

#include "io/file_descriptor.h"
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
  using Time = std::chrono::steady_clock::time_point;

  Connection(FileDescriptor socket, const ConnectionLimits& limits);

  /// The peer's address, "192.0.2.1".
  const std::string& client() const { return client_; }
  /// What counts as one client when connections are shared out: an address, of IPv6 its first half,
  /// all of which one subscriber has.
  const std::string& client_group() const { return client_group_; }

  /// Takes what has come, without waiting. False: the peer is gone.
  bool receive_available();
  /// Takes and forgets what has come; gives its size, nothing if no more can come.
  std::optional<std::size_t> discard_available();

  bool has_begun() const { return !received_.empty(); }
  /// Whether read_head() has something to say.
  bool has_head();

  /// Makes the head that has come, then its body, what the library reads next. Throws ApiError.
  RequestHead read_head();

  /// From here on nothing waits for the peer, in this request.
  void do_not_wait();

  /// Of the next response: in place of the status' own reason phrase, which the library writes.
  void set_reason(std::string phrase) { reason_ = std::move(phrase); }

  /// Whether the whole body was read: what is left of it would be taken for the next request.
  bool body_is_read() const { return body_left_ == 0; }
  bool timed_out() const { return timed_out_; }
  std::size_t bytes_written() const { return bytes_written_; }

  /// Whether the peer has closed its side: nobody will read a response.
  bool peer_is_gone() const;

  /// Since when the peer has kept a thread waiting; nothing: it does not. From any thread.
  std::optional<Time> blocked_since() const;
  /// From any thread: whatever waits for the peer ends.
  void abort();
  /// No more from our side; what the peer still sends is to be discarded for a while, so that it
  /// reads the last response rather than a reset.
  void end_writing();

  // httplib::Stream
  bool is_readable() const override { return true; }
  bool is_writable() const override { return !peer_is_gone(); }
  ssize_t read(char* target, std::size_t size) override;
  ssize_t write(const char* bytes, std::size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_.get(); }

 private:
  /// More bytes into `received_`; false if there are none in time.
  bool receive(Patience& patience);
  ssize_t send_some(const char* bytes, std::size_t size);
  bool wait(short events, Patience& patience);

  FileDescriptor socket_;
  ConnectionLimits limits_;
  std::string client_;
  std::string client_group_;
  std::atomic<Time::rep> blocked_since_ = 0;  ///< 0: the peer keeps nobody waiting
  Patience body_patience_;
  Patience write_patience_;
  std::string received_;      ///< from the socket, not yet used
  std::size_t searched_ = 0;  ///< of `received_`, for the end of a head
  std::string head_;          ///< for the library
  std::size_t head_read_ = 0;
  std::uint64_t body_left_ = 0;
  std::size_t bytes_written_ = 0;
  std::string reason_;  ///< empty: the library's
  bool timed_out_ = false;
};

}  // namespace ernie_image
