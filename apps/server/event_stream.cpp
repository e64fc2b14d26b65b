#include "server/event_stream.h"

#include "server/api_error.h"
#include "server/spooled_text.h"

namespace ernie_image {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kBeat{10};

/// False ends the stream.
bool next_events(const std::function<bool(EventSink&)>& next, EventSink& sink) {
  try {
    const bool goes_on = next(sink);
    sink.beat();
    return goes_on && !sink.is_gone();
  } catch (...) {
    // The status is long sent.
    sink.send_error(api_error_of(std::current_exception()));
    return false;
  }
}

}  // namespace

void EventSink::write(std::string text) {
  if (is_gone_) return;
  const std::optional<SpooledText> spooled =
      text.size() < kSpooledBytes ? std::nullopt : SpooledText::of(text);
  if (spooled) {
    std::string().swap(text);
    for (std::size_t sent = 0; sent < spooled->size() && !is_gone_;) {
      const std::size_t size = spooled->write_piece(sent, sink_);
      sent += size;
      is_gone_ = size == 0;
    }
  } else {
    is_gone_ = !sink_.write(text.data(), text.size());
  }
  last_write_ = Clock::now();
}

void EventSink::send(const std::string& event, nlohmann::json data, const std::string& id) {
  const bool is_event = kind_ == StreamKind::events;
  std::string text = is_event ? "event: " + event + "\n" : "";
  if (is_event && !id.empty()) text += "id: " + id + "\n";
  if (is_event) text += "data: ";
  text += data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text += is_event ? "\n\n" : "\n";
  data = nullptr;
  write(std::move(text));
}

void EventSink::send_error(const ApiError& error) {
  const bool is_event = kind_ == StreamKind::events;
  send("error", nlohmann::json::parse(is_event ? error_body(error) : plain_error_body(error)));
}

void EventSink::beat() {
  if (kind_ == StreamKind::events && Clock::now() - last_write_ > kBeat) write(": still here\n\n");
}

void send_events(const Exchange& exchange, httplib::Response& response,
                 std::function<bool(EventSink&)> next, StreamKind kind) {
  response.status = 200;
  response.set_header("Cache-Control", "no-store");
  response.set_header("X-Accel-Buffering", "no");  // nginx would hold events back
  const auto provider = [next = std::move(next), last_write = Clock::now(), kind](
                            std::size_t, httplib::DataSink& sink) mutable {
    EventSink events(sink, last_write, kind);
    if (next_events(next, events)) return true;
    if (events.is_gone()) return false;
    sink.done();
    return true;
  };
  const char* type = kind == StreamKind::events ? "text/event-stream" : "application/x-ndjson";
  if (exchange.head.version == "HTTP/1.0") {
    response.set_content_provider(type, provider);
  } else {
    response.set_chunked_content_provider(type, provider);
  }
}

}  // namespace ernie_image
