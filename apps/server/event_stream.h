// Server-sent events, and lines of JSON.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include <nlohmann/json.hpp>

#include "server/api_error.h"
#include "server/exchange.h"

namespace ernie_image {

enum class StreamKind { events, lines };

/// One client's stream. Writing to a client that is gone does nothing but set `is_gone`.
class EventSink {
 public:
  EventSink(httplib::DataSink& sink, std::chrono::steady_clock::time_point& last_write,
            StreamKind kind)
      : sink_(sink), last_write_(last_write), kind_(kind) {}

  /// Large events wait for slow clients in a file. A client that comes back tells the `id` of the
  /// last one it got. A line has neither name nor id.
  void send(const std::string& event, nlohmann::json data, const std::string& id = "");
  /// An event "error", or a line {"error": message}.
  void send_error(const ApiError& error);
  /// A comment, if nothing was sent for a while: keeps proxies from closing the stream. Lines have
  /// none.
  void beat();
  bool is_gone() const { return is_gone_ || !sink_.is_writable(); }

 private:
  void write(std::string text);

  httplib::DataSink& sink_;
  std::chrono::steady_clock::time_point& last_write_;
  StreamKind kind_;
  bool is_gone_ = false;
};

/// Sends what `next` gives, which waits a moment for something to send and is called until it
/// returns false. What it throws is sent as an error and ends the stream.
void send_events(const Exchange& exchange, httplib::Response& response,
                 std::function<bool(EventSink&)> next, StreamKind kind = StreamKind::events);

}  // namespace ernie_image
