// Commands to one Redis from any thread, over as many connections as that takes.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "jobs/redis_connection.h"

namespace ernie_image {

class RedisClient {
 public:
  /// `patience` is for a Redis that is restarted. Throws at once if there is nobody.
  RedisClient(RedisAddress address, std::chrono::milliseconds patience);

  const RedisAddress& address() const { return address_; }

  /// Tries again for that long, or for the thread's StorePatience if that is less, while Redis
  /// cannot be reached, so that a restart of it goes unnoticed. A command may therefore be done
  /// twice: a lost answer does not tell whether it was.
  RedisReply command(const std::vector<std::string_view>& words);

 private:
  std::unique_ptr<RedisConnection> take_connection(std::chrono::milliseconds timeout);
  void give_connection(std::unique_ptr<RedisConnection> connection);

  const RedisAddress address_;
  const std::chrono::milliseconds patience_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<RedisConnection>> idle_;
};

}  // namespace ernie_image
