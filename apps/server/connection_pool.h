// Threads that serve connections, one each: as many as there are connections, up to a limit.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include <httplib.h>

namespace ernie_image {

class ConnectionPool final : public httplib::TaskQueue {
 public:
  /// One more thread than `max_connections`: it turns away those that are too many.
  explicit ConnectionPool(std::size_t max_connections);

  /// What is to be done with the connection that the calling thread was given.
  enum class Task { serve, turn_away, drop };
  static Task task();

  /// Calls `serve` on a thread of its own; where all are busy, on the one that turns away; where
  /// that one cannot keep up, here, to drop the connection.
  void enqueue(std::function<void()> serve) override;

  /// Waits for all that have begun.
  void shutdown() override;

 private:
  void serve_connections();
  void turn_away_connections();

  const std::size_t max_connections_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::condition_variable too_many_changed_;
  std::deque<std::function<void()>> waiting_;
  std::deque<std::function<void()>> too_many_;
  std::size_t idle_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
  std::thread turning_away_;
};

}  // namespace ernie_image
