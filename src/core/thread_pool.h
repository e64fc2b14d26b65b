// A fixed set of threads that share out numbered chunks of work.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "ernie_image/cancel.h"

namespace ernie_image {

/// How many threads this process may usefully run: the affinity mask, cut to the cgroup CPU quota
/// (rounded up, at least 1).
int available_cpus();

/// Chunks are handed out dynamically by an atomic counter: with static halves, one core taken by
/// something else halves the speed of all. Workers spin briefly for the next call, then sleep.
class ThreadPool {
 public:
  /// `num_threads` counts the calling thread too; 0 means available_cpus().
  explicit ThreadPool(int num_threads = 0);
  /// Of a rehearsal: says that it has so many threads, and calls no body.
  static ThreadPool idle(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const;
  bool is_idle() const;

  /// Calls body(chunk, thread) for every chunk in [0, num_chunks), thread in [0, num_threads()).
  /// Returns when all are done. The first exception thrown by a body stops the hand-out and is
  /// rethrown here; so does a requested cancel token, as Error(cancelled). One caller at a time;
  /// not to be called from inside a body.
  void parallel_for(std::int64_t num_chunks,
                    const std::function<void(std::int64_t chunk, int thread)>& body);

  /// Polled between chunks from now on; null for none.
  void set_cancel_token(std::shared_ptr<const CancelToken> token);

 private:
  struct State;
  explicit ThreadPool(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace ernie_image
