#include "core/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "core/cpu_quota.h"

namespace ernie_image {
namespace {

// About 50 microseconds: longer than the gap between two operations of a model, shorter than
// anything a person or a scheduler would notice.
constexpr int kSpins = 2000;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int cpus_in_affinity_mask() {
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) return CPU_COUNT(&mask);
  return static_cast<int>(std::thread::hardware_concurrency());
}

/// One parallel_for: lives on the caller's stack while any thread works on it.
struct Job {
  const std::function<void(std::int64_t, int)>& body;
  std::int64_t num_chunks;
  const CancelToken* token;
  std::atomic<std::int64_t> next_chunk{0};
  std::mutex error_mutex{};
  std::exception_ptr error{};

  void fail(std::exception_ptr reason) {
    next_chunk.store(num_chunks, std::memory_order_relaxed);
    const std::lock_guard lock(error_mutex);
    if (!error) error = std::move(reason);
  }

  /// Works until no chunk is left.
  void run(int thread) {
    try {
      while (next_chunk.load(std::memory_order_relaxed) < num_chunks) {
        const std::int64_t chunk = next_chunk.fetch_add(1, std::memory_order_relaxed);
        if (chunk >= num_chunks) return;
        if (token != nullptr) token->throw_if_requested();
        body(chunk, thread);
      }
    } catch (...) {
      fail(std::current_exception());
    }
  }
};

}  // namespace

int available_cpus() {
  int count = std::max(1, cpus_in_affinity_mask());
  if (const auto quota = cgroup_cpu_quota("/proc/self/cgroup", "/sys/fs/cgroup"))
    count = std::min(count, static_cast<int>(std::ceil(std::min(*quota, 1e6))));
  return std::max(1, count);
}

// A worker takes part in a job only if it arrives while the job is open, so that a short job never
// waits for a sleeping worker to wake up.
struct ThreadPool::State {
  std::vector<std::thread> workers;
  int idle_threads = 0;  // of a pool that does nothing
  std::shared_ptr<const CancelToken> token;

  std::mutex mutex;
  std::condition_variable job_posted;
  std::condition_variable job_left;
  Job* job = nullptr;                    // guarded by mutex; null: none open
  std::atomic<std::uint64_t> posted{0};  // changes, under mutex, when there is a reason to look
  std::atomic<int> active{0};            // workers inside the open job; changes under mutex
  bool stopping = false;                 // guarded by mutex

  ~State() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
      ++posted;
    }
    job_posted.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void worker_loop(int thread) {
    std::uint64_t seen = 0;
    for (;;) {
      for (int i = 0; i < kSpins && posted.load(std::memory_order_relaxed) == seen; ++i)
        pause_briefly();
      Job* mine = enter(seen);
      if (mine == nullptr) return;
      mine->run(thread);
      leave();
    }
  }

  /// Waits for an open job newer than `seen`; null when the pool is stopping.
  Job* enter(std::uint64_t& seen) {
    std::unique_lock lock(mutex);
    job_posted.wait(lock, [&] { return stopping || (job != nullptr && posted != seen); });
    if (stopping) return nullptr;
    seen = posted;
    ++active;
    return job;
  }

  void leave() {
    const std::lock_guard lock(mutex);
    if (--active == 0) job_left.notify_one();
  }

  void open(Job& new_job) {
    {
      const std::lock_guard lock(mutex);
      job = &new_job;
      ++posted;
    }
    job_posted.notify_all();
  }

  void close() {
    {
      const std::lock_guard lock(mutex);
      job = nullptr;
    }
    for (int i = 0; i < kSpins && active.load(std::memory_order_relaxed) != 0; ++i) pause_briefly();
    std::unique_lock lock(mutex);
    job_left.wait(lock, [&] { return active == 0; });
  }
};

ThreadPool::ThreadPool(int num_threads) : state_(std::make_unique<State>()) {
  const int count = num_threads > 0 ? num_threads : available_cpus();
  try {
    for (int thread = 1; thread < count; ++thread)
      state_->workers.emplace_back([state = state_.get(), thread] { state->worker_loop(thread); });
  } catch (const std::system_error& error) {
    throw Error(ErrorKind::invalid_argument, "cannot start " + std::to_string(count) +
                                                 " threads: " + error.what() + "; ask for fewer");
  }
}

ThreadPool::ThreadPool(std::unique_ptr<State> state) : state_(std::move(state)) {}
ThreadPool::~ThreadPool() = default;

ThreadPool ThreadPool::idle(int num_threads) {
  auto state = std::make_unique<State>();
  state->idle_threads = num_threads;
  return ThreadPool(std::move(state));
}

bool ThreadPool::is_idle() const { return state_->idle_threads > 0; }

int ThreadPool::num_threads() const {
  return is_idle() ? state_->idle_threads : static_cast<int>(state_->workers.size()) + 1;
}

void ThreadPool::parallel_for(std::int64_t num_chunks,
                              const std::function<void(std::int64_t chunk, int thread)>& body) {
  if (is_idle()) return;
  Job job{body, num_chunks, state_->token.get()};
  if (num_chunks <= 1 || state_->workers.empty()) {
    job.run(0);
  } else {
    state_->open(job);
    job.run(0);
    state_->close();
  }
  if (job.error) std::rethrow_exception(job.error);
}

void ThreadPool::set_cancel_token(std::shared_ptr<const CancelToken> token) {
  state_->token = std::move(token);
}

}  // namespace ernie_image
