#include "jobs/redis_client.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "jobs/store_patience.h"

namespace ernie_image {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

constexpr Milliseconds kFirstPause{20};
constexpr Milliseconds kLongestPause{1000};
constexpr std::size_t kMaxIdle = 32;  // connections kept open

}  // namespace

RedisClient::RedisClient(RedisAddress address, Milliseconds patience)
    : address_(std::move(address)), patience_(patience) {
  give_connection(std::make_unique<RedisConnection>(address_));
}

std::unique_ptr<RedisConnection> RedisClient::take_connection(Milliseconds timeout) {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      auto connection = std::move(idle_.back());
      idle_.pop_back();
      connection->set_timeout(timeout);
      return connection;
    }
  }
  return std::make_unique<RedisConnection>(address_, timeout);
}

void RedisClient::give_connection(std::unique_ptr<RedisConnection> connection) {
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kMaxIdle) idle_.push_back(std::move(connection));
}

RedisReply RedisClient::command(const std::vector<std::string_view>& words) {
  const auto deadline = Clock::now() + std::min(patience_, StorePatience::current());
  for (Milliseconds pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    try {
      auto connection =
          take_connection(std::chrono::duration_cast<Milliseconds>(deadline - Clock::now()));
      RedisReply reply = connection->command(words);
      give_connection(std::move(connection));
      return reply;
    } catch (const RedisUnavailable&) {
      if (Clock::now() + pause > deadline) throw;
      const std::lock_guard lock(mutex_);
      idle_.clear();  // of the server that is gone
    }
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace ernie_image
