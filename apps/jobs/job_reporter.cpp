#include "jobs/job_reporter.h"

#include <algorithm>
#include <new>

#include "core/start_thread.h"

namespace ernie_image {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPause{200};  // after the queue could not be reached

}  // namespace

JobReporter::JobReporter(JobQueue& queue, const WorkerInfo& worker)
    : queue_(queue), worker_(worker), thread_(start_thread([this] { run(); })) {}

JobReporter::~JobReporter() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void JobReporter::begin(const std::string& id, std::shared_ptr<CancelToken> token) {
  const std::lock_guard lock(mutex_);
  jobs_[id].token = std::move(token);
  worker_.current_job = id;
}

void JobReporter::update(const std::string& id, const JobProgress& progress, MakePreview preview) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = jobs_.find(id);
    if (found == jobs_.end()) return;
    found->second.progress = progress;
    if (preview) found->second.preview = std::move(preview);
    changed_.insert(id);
  }
  wake_.notify_all();
}

bool JobReporter::is_stopped(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = jobs_.find(id);
  return found != jobs_.end() && found->second.is_stopped;
}

void JobReporter::end(const std::string& id) {
  std::unique_lock lock(mutex_);
  jobs_.erase(id);
  changed_.erase(id);
  if (jobs_.empty()) worker_.current_job.clear();
  idle_.wait(lock, [&] { return reporting_ != id; });
}

void JobReporter::set_pace(double step_seconds_per_pixel, int pixels) {
  const std::lock_guard lock(mutex_);
  worker_.seconds_per_step = step_seconds_per_pixel * pixels;
  worker_.pixels_per_second = step_seconds_per_pixel > 0 ? 1 / step_seconds_per_pixel : 0;
}

WorkerInfo JobReporter::worker() const {
  const std::lock_guard lock(mutex_);
  return worker_;
}

void JobReporter::announce() {
  try {
    WorkerInfo worker;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [id, entry] : jobs_) changed_.insert(id);
      worker = worker_;
    }
    queue_.announce(worker);
  } catch (const std::exception&) {
    // Not reachable: it will be told when it is.
  }
}

void JobReporter::run() {
  Clock::time_point next_heartbeat{};
  std::unique_lock lock(mutex_);
  while (!ending_) {
    if (Clock::now() >= next_heartbeat) {
      next_heartbeat = Clock::now() + kHeartbeat;
      lock.unlock();
      announce();
      lock.lock();
    }
    if (changed_.empty()) {
      wake_.wait_until(lock, next_heartbeat, [&] { return ending_ || !changed_.empty(); });
      continue;
    }
    try {
      report_next(lock);
    } catch (const std::bad_alloc&) {
      // Heartbeats report all jobs again.
    }
  }
}

void JobReporter::report_next(std::unique_lock<std::mutex>& lock) {
  const std::string id = *changed_.begin();
  changed_.erase(id);
  Entry& entry = jobs_.at(id);
  if (entry.is_stopped) return;
  Entry told = entry;
  entry.preview = nullptr;
  reporting_ = id;
  lock.unlock();
  report(id, std::move(told));
  lock.lock();
  reporting_.clear();
  idle_.notify_all();
}

void JobReporter::report(const std::string& id, const Entry& entry) {
  try {
    const Bytes preview = entry.preview ? entry.preview() : Bytes();
    if (!queue_.report(id, worker_.name, entry.progress, preview)) stop(id);
  } catch (const std::exception&) {
    // Not reachable. The work goes on: its result will count if nobody was faster.
    std::this_thread::sleep_for(kPause);
  }
}

void JobReporter::stop(const std::string& id) {
  // A waiting client sees the end now, though the batch may go on for others.
  queue_.fail(id, worker_.name, {"cancelled", "cancelled"});
  const std::lock_guard lock(mutex_);
  const auto stopped = jobs_.find(id);
  if (stopped == jobs_.end()) return;
  stopped->second.is_stopped = true;
  const auto& token = stopped->second.token;
  const bool all_stopped = std::ranges::all_of(
      jobs_, [&](const auto& job) { return job.second.token != token || job.second.is_stopped; });
  if (all_stopped) token->request();
}

}  // namespace ernie_image
