// What other processes publish: one connection and one thread for all who wait.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "jobs/redis_connection.h"

namespace ernie_image {

/// Messages of one channel, each of which names what has changed. They only spare waiting: whoever
/// waits looks for himself first, and while there is no connection every so often.
class RedisNews {
 public:
  RedisNews(RedisAddress address, std::string channel);
  ~RedisNews();
  RedisNews(const RedisNews&) = delete;
  RedisNews& operator=(const RedisNews&) = delete;

  /// News of `topic` since this was made. Nothing is missed if it is made before looking.
  class Watch {
   public:
    /// `news` must outlive it. The first one connects.
    Watch(RedisNews& news, const std::string& topic);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    /// True once there may be news since the last call, at once if there are; false if there are
    /// none until `deadline`.
    bool wait_until(std::chrono::steady_clock::time_point deadline);

   private:
    friend class RedisNews;
    RedisNews& news_;
    std::multimap<std::string, Watch*>::iterator place_;
    std::condition_variable changed_;
    bool has_news_ = false;
  };

 private:
  void run();
  void listen();
  void set_listening(bool is_listening);
  void tell(const std::string& topic);

  const RedisAddress address_;
  const std::string channel_;
  const int stop_event_;  // readable once the thread is to end
  std::mutex mutex_;
  std::multimap<std::string, Watch*> watches_;
  bool is_listening_ = false;
  std::thread thread_;
};

}  // namespace ernie_image
