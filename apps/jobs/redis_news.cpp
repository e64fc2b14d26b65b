#include "jobs/redis_news.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace ernie_image {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPause_ms = 500;                    // before connecting again
constexpr std::chrono::milliseconds kBlind{100};  // how often to look without a connection

bool becomes_readable(int descriptor, int timeout_ms) {
  pollfd waited = {descriptor, POLLIN, 0};
  return ::poll(&waited, 1, timeout_ms) > 0;
}

int new_event() {
  const int event = ::eventfd(0, EFD_CLOEXEC);
  if (event < 0) throw Error(ErrorKind::io, "no file descriptor is left to listen to Redis");
  return event;
}

}  // namespace

RedisNews::RedisNews(RedisAddress address, std::string channel)
    : address_(std::move(address)), channel_(std::move(channel)), stop_event_(new_event()) {}

RedisNews::~RedisNews() {
  ::eventfd_write(stop_event_, 1);
  if (thread_.joinable()) thread_.join();
  ::close(stop_event_);
}

void RedisNews::run() {
  do {
    try {
      listen();
    } catch (const std::exception&) {
      // Redis is away, or does not let us subscribe: everybody looks for himself meanwhile.
    }
    set_listening(false);
  } while (!becomes_readable(stop_event_, kPause_ms));
}

/// Until it is to stop, or the connection is lost.
void RedisNews::listen() {
  RedisConnection connection(address_);
  connection.command({"SUBSCRIBE", channel_});
  set_listening(true);
  while (const auto message = connection.next_message(stop_event_)) {
    // "message", channel, what was published
    if (message->list.size() == 3) tell(message->list[2].text);
  }
}

/// Whatever was published before is lost, so that all who wait have to look.
void RedisNews::set_listening(bool is_listening) {
  const std::lock_guard lock(mutex_);
  is_listening_ = is_listening;
  for (const auto& [topic, watch] : watches_) {
    watch->has_news_ = true;
    watch->changed_.notify_one();
  }
}

void RedisNews::tell(const std::string& topic) {
  const std::lock_guard lock(mutex_);
  const auto [begin, end] = watches_.equal_range(topic);
  for (auto entry = begin; entry != end; ++entry) {
    entry->second->has_news_ = true;
    entry->second->changed_.notify_one();
  }
}

RedisNews::Watch::Watch(RedisNews& news, const std::string& topic) : news_(news) {
  const std::lock_guard lock(news_.mutex_);
  place_ = news_.watches_.emplace(topic, this);
  if (news_.thread_.joinable()) return;
  try {
    news_.thread_ = std::thread([&news] { news.run(); });
  } catch (const std::system_error&) {
    // No thread can be made: everybody looks for himself, as without a connection.
  }
}

RedisNews::Watch::~Watch() {
  const std::lock_guard lock(news_.mutex_);
  news_.watches_.erase(place_);
}

bool RedisNews::Watch::wait_until(Clock::time_point deadline) {
  std::unique_lock lock(news_.mutex_);
  const bool is_blind = !news_.is_listening_;
  const auto until = is_blind ? std::min(deadline, Clock::now() + kBlind) : deadline;
  const bool has_news = changed_.wait_until(lock, until, [this] { return has_news_; });
  has_news_ = false;
  return has_news || until < deadline;
}

}  // namespace ernie_image
