#include "server/connection_pool.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxTurnedAway = 64;  // that wait to be told so

thread_local ConnectionPool::Task current_task = ConnectionPool::Task::serve;

}  // namespace

ConnectionPool::ConnectionPool(std::size_t max_connections)
    : max_connections_(max_connections), turning_away_([this] { turn_away_connections(); }) {}

ConnectionPool::Task ConnectionPool::task() { return current_task; }

void ConnectionPool::enqueue(std::function<void()> serve) {
  std::unique_lock lock(mutex_);
  if (waiting_.size() < idle_) {
    waiting_.push_back(std::move(serve));
    changed_.notify_one();
  } else if (threads_.size() < max_connections_) {
    waiting_.push_back(std::move(serve));
    threads_.emplace_back([this] { serve_connections(); });
  } else if (too_many_.size() < kMaxTurnedAway) {
    too_many_.push_back(std::move(serve));
    too_many_changed_.notify_one();
  } else {
    lock.unlock();
    current_task = Task::drop;
    serve();
    current_task = Task::serve;
  }
}

void ConnectionPool::serve_connections() {
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    --idle_;
    if (waiting_.empty()) return;
    const std::function<void()> serve = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    serve();
    lock.lock();
  }
}

void ConnectionPool::turn_away_connections() {
  current_task = Task::turn_away;
  std::unique_lock lock(mutex_);
  while (true) {
    too_many_changed_.wait(lock, [this] { return stopping_ || !too_many_.empty(); });
    if (too_many_.empty()) return;
    const std::function<void()> serve = std::move(too_many_.front());
    too_many_.pop_front();
    lock.unlock();
    serve();
    lock.lock();
  }
}

void ConnectionPool::shutdown() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  too_many_changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  turning_away_.join();
}

}  // namespace ernie_image
