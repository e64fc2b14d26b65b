// Threads that serve requests, one each: as many as there are requests at a time, up to a limit.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace ernie_image {

class ConnectionPool {
 public:
  explicit ConnectionPool(std::size_t max_threads) : max_threads_(max_threads) {}
  ~ConnectionPool() { shutdown(); }
  ConnectionPool(const ConnectionPool&) = delete;
  ConnectionPool& operator=(const ConnectionPool&) = delete;

  /// Calls `task` on a thread of its own. False, and `task` is untouched: all are busy, or none can
  /// be made.
  bool run(std::function<void()>& task);

  /// The same, but where all are busy `task` waits for the next that is not.
  bool run_soon(std::function<void()>& task);

  /// Waits for all that have begun. Tasks that did not are dropped.
  void shutdown();

 private:
  bool add_thread();
  bool hand_over(std::function<void()>& task);
  void serve();

  const std::size_t max_threads_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  std::size_t idle_ = 0;  ///< threads that have nothing to do, or have just been made
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace ernie_image
