// A Redis of the test's own.
#pragma once

#include <sys/types.h>

#include <string>

namespace ernie_image::test {

/// Listens on a socket in `folder` alone, and keeps an append-only file there, synced for each
/// command.
class RedisServer {
 public:
  explicit RedisServer(std::string folder);
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  /// Whether there is a redis-server to start.
  static bool is_installed();

  std::string url() const { return "unix://" + folder_ + "/redis.sock"; }
  /// Returns when it answers.
  void start();
  /// As kill -9 does.
  void kill();

 private:
  std::string folder_;
  pid_t process_ = -1;
};

}  // namespace ernie_image::test
