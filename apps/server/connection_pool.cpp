#include "server/connection_pool.h"

#include <new>
#include <system_error>
#include <utility>

#include "server/log.h"

namespace ernie_image {

/// Every limit of the system on threads, processes and memory shows here, and is no reason to end.
bool ConnectionPool::add_thread() {
  try {
    threads_.reserve(threads_.size() + 1);
    threads_.emplace_back([this] { serve(); });
  } catch (const std::system_error& error) {
    log_event(LogLevel::warning, "no thread can be made for a request",
              {{"threads", threads_.size()}, {"reason", error.what()}});
    return false;
  } catch (const std::bad_alloc&) {
    return false;
  }
  ++idle_;
  return true;
}

bool ConnectionPool::hand_over(std::function<void()>& task) {
  try {
    waiting_.emplace_back();
  } catch (const std::bad_alloc&) {
    return false;
  }
  waiting_.back() = std::move(task);
  changed_.notify_one();
  return true;
}

bool ConnectionPool::run(std::function<void()>& task) {
  const std::lock_guard lock(mutex_);
  const bool is_one_free =
      waiting_.size() < idle_ || (threads_.size() < max_threads_ && add_thread());
  return is_one_free && hand_over(task);
}

bool ConnectionPool::run_soon(std::function<void()>& task) {
  const std::lock_guard lock(mutex_);
  return hand_over(task);
}

void ConnectionPool::serve() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    --idle_;
    const std::function<void()> task = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    task();
    lock.lock();
    ++idle_;
  }
}

void ConnectionPool::shutdown() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  waiting_.clear();
}

}  // namespace ernie_image
