// The SQLite queue's other half: how jobs go from state to state, and what workers do with them.
#include <algorithm>

#include "jobs/clock.h"
#include "jobs/job_files.h"
#include "jobs/job_json.h"
#include "jobs/sqlite_queue.h"

namespace ernie_image {
namespace {

using Lock = std::unique_lock<std::mutex>;

const JobFailure kWorkerLost = {"worker_lost",
                                "every worker that began this job died or fell silent"};

}  // namespace

// --- states

void SqliteQueue::change(LiveJob& live, Job changed) {
  changed.version = next_version(changed.version);
  store_.save(changed);
  live.job = std::move(changed);
  live.changed.notify_all();
}

void SqliteQueue::enqueue(const Live& live, bool first) {
  const Job& job = live->job;
  FairQueue& queue = waiting_[job.request.model];
  served_.try_emplace(job.request.model, Clock::now());
  FairQueue::Entry entry{job.id, batch_key(job.request)};
  if (first) {
    queue.push_front(job.request.priority, job.owner, std::move(entry));
  } else {
    queue.push_back(job.request.priority, job.owner, std::move(entry));
  }
  work_.notify_all();
}

void SqliteQueue::begin(const Live& live, const std::string& worker) {
  Job changed = live->job;
  changed.state = JobState::running;
  changed.started_ms = now_ms();
  ++changed.attempts;
  change(*live, std::move(changed));
  live->worker = worker;
  live->begun = live->heard = Clock::now();
}

/// A running job has no worker any more, and has been begun `attempts` times so far.
void SqliteQueue::requeue(const Live& live, int attempts) {
  Job changed = live->job;
  changed.attempts = attempts;
  changed.progress = {};
  if (changed.cancel_requested) {
    changed.state = JobState::cancelled;
    return finish(live, std::move(changed));
  }
  if (attempts >= kMaxAttempts) {
    changed.state = JobState::failed;
    changed.failure = kWorkerLost;
    return finish(live, std::move(changed));
  }
  changed.state = JobState::queued;
  change(*live, std::move(changed));
  live->worker.clear();
  live->preview.clear();
  enqueue(live, true);
}

/// The state is set already.
void SqliteQueue::finish(const Live& live, Job changed) {
  changed.finished_ms = now_ms();
  if (changed.state == JobState::completed) {
    changed.progress.fraction = 1;
    changed.progress.seconds_left = 0;
    const double seconds = std::chrono::duration<double>(Clock::now() - live->begun).count();
    mean_job_seconds_ = mean_job_seconds_ == 0 ? seconds : 0.8 * mean_job_seconds_ + 0.2 * seconds;
  }
  change(*live, std::move(changed));
  const auto queue = waiting_.find(live->job.request.model);
  if (queue != waiting_.end()) queue->second.remove(live->job.id);
  live_.erase(live->job.id);
  remove_inputs(live->job);
}

// --- workers

void SqliteQueue::announce(const WorkerInfo& worker) {
  const Lock lock(mutex_);
  workers_[worker.name] = {worker, Clock::now()};
  served_[worker.model] = Clock::now();
}

void SqliteQueue::reclaim_expired() {
  std::vector<Live> expired;
  const auto now = Clock::now();
  for (const auto& [id, live] : live_) {
    const bool is_running = live->job.state == JobState::running;
    if (is_running && now - live->heard > options_.claim_expiry) expired.push_back(live);
  }
  for (const Live& live : expired) requeue(live, live->job.attempts);
}

/// Of models that have had no worker for too long.
void SqliteQueue::fail_orphans() {
  if (options_.orphan_timeout.count() == 0) return;
  const auto oldest = Clock::now() - options_.orphan_timeout;
  for (auto& [model, queue] : waiting_) {
    const auto served = served_.find(model);
    if (served == served_.end() || served->second > oldest) continue;
    while (queue.next() != nullptr) {
      const Live live = live_.at(queue.next()->id);
      Job changed = live->job;
      changed.state = JobState::failed;
      changed.failure = JobFailure{
          "no_worker", "no worker has had the model of this job for " +
                           std::to_string(std::chrono::duration_cast<std::chrono::seconds>(
                                              options_.orphan_timeout)
                                              .count()) +
                           " s"};
      finish(live, std::move(changed));
    }
    served_.erase(served);
  }
}

std::vector<Job> SqliteQueue::take(const WorkerInfo& worker, const BatchLimit& limit) {
  std::vector<Job> jobs;
  const auto found = waiting_.find(worker.model);
  if (found == waiting_.end()) return jobs;
  FairQueue& queue = found->second;
  const int share = share_of(worker, queue.size());
  std::string batch;
  int most = 0, images = 0;
  // Nobody is passed over: a batch ends where the next job in line does not fit it.
  while (std::ssize(jobs) < share && queue.next() != nullptr) {
    const Live live = live_.at(queue.next()->id);
    const JobRequest& request = live->job.request;
    const int more = std::max(1, static_cast<int>(request.seeds.size()));
    if (jobs.empty()) most = limit.images(request.width_px, request.height_px);
    const bool fits = queue.next()->batch == batch && images + more <= most;
    if (!jobs.empty() && !fits) break;
    batch = queue.next()->batch;
    images += more;
    begin(live, worker.name);
    queue.pop();
    jobs.push_back(live->job);
  }
  return jobs;
}

int SqliteQueue::share_of(const WorkerInfo& worker, int waiting) const {
  int workers = 0, known = 0;
  double speed = 0;
  bool is_known = false;
  for (const auto& [name, other] : workers_) {
    const bool is_silent = Clock::now() - other.heard > kClaimExpiry;
    if (is_silent || other.info.model != worker.model) continue;
    ++workers;
    is_known = is_known || name == worker.name;
    known += other.info.pixels_per_second > 0 ? 1 : 0;
    speed += other.info.pixels_per_second;
  }
  if (!is_known) ++workers;
  if (known > 0) speed *= static_cast<double>(workers) / known;
  return fair_share(waiting, workers, worker.pixels_per_second, speed);
}

std::vector<Job> SqliteQueue::claim(const WorkerInfo& worker, const BatchLimit& limit,
                                    std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  // So often a silent worker's jobs are looked for.
  const auto period =
      std::min<std::chrono::milliseconds>(options_.claim_expiry / 4, std::chrono::seconds(1));
  Lock lock(mutex_);
  while (true) {
    reclaim_expired();
    fail_orphans();
    std::vector<Job> jobs = take(worker, limit);
    const auto now = Clock::now();
    if (!jobs.empty() || now >= deadline) return jobs;
    work_.wait_until(lock, std::min(deadline, now + period));
  }
}

SqliteQueue::Live SqliteQueue::claimed(const std::string& id, const std::string& worker) const {
  const Live live = find_live(id);
  const bool is_claimed =
      live != nullptr && live->job.state == JobState::running && live->worker == worker;
  return is_claimed ? live : nullptr;
}

bool SqliteQueue::report(const std::string& id, const std::string& worker,
                         const JobProgress& progress, const Bytes& preview) {
  const Lock lock(mutex_);
  const Live live = claimed(id, worker);
  if (live == nullptr) return false;
  live->heard = Clock::now();
  live->job.progress = progress;
  if (!preview.empty()) live->preview = preview;
  live->job.version = next_version(live->job.version);
  live->changed.notify_all();
  return !live->job.cancel_requested;
}

void SqliteQueue::complete(const std::string& id, const std::string& /*worker*/,
                           const JobResult& result) {
  // Whoever is first may hand in: even the worker that was thought lost made the same pictures.
  write_files(id, result);
  const Lock lock(mutex_);
  const Live live = find_live(id);
  if (live != nullptr && !live->job.cancel_requested) {
    complete_in_store(live, result);
    forget_surplus();
    return;
  }
  if (live != nullptr) {
    Job changed = live->job;
    changed.state = JobState::cancelled;
    finish(live, std::move(changed));
  }
  const std::optional<Job> job = store_.find(id);
  const bool has_images = job && job->state == JobState::completed;
  if (!has_images) remove_files(id, outcome_of(result).images);
}

void SqliteQueue::write_files(const std::string& id, const JobResult& result) const {
  if (!folder_) return;
  try {
    for (const JobFile& file : files_of(id, result)) folder_->write(file.name, file.bytes);
  } catch (...) {
    remove_files(id, outcome_of(result).images);
    throw;
  }
}

/// Without a folder the pictures go into the database. They come first: those of a job that never
/// got its state are replaced when it is run again.
void SqliteQueue::complete_in_store(const Live& live, const JobResult& result) {
  Job changed = live->job;
  JobOutcome outcome = outcome_of(result);
  changed.enhanced_prompt = std::move(outcome.enhanced_prompt);
  changed.prompt_tokens = outcome.prompt_tokens;
  changed.images = std::move(outcome.images);
  changed.state = JobState::completed;
  if (!folder_) {
    for (const JobFile& file : files_of(changed.id, result)) {
      store_.write_file(changed.id, file.name, file.bytes);
    }
  }
  finish(live, std::move(changed));
}

void SqliteQueue::fail(const std::string& id, const std::string& worker,
                       const JobFailure& failure) {
  const Lock lock(mutex_);
  const Live live = claimed(id, worker);
  if (live == nullptr) return;
  Job changed = live->job;
  changed.state = changed.cancel_requested ? JobState::cancelled : JobState::failed;
  if (!changed.cancel_requested) changed.failure = failure;
  finish(live, std::move(changed));
  forget_surplus();
}

void SqliteQueue::release(const std::string& id, const std::string& worker) {
  const Lock lock(mutex_);
  const Live live = claimed(id, worker);
  if (live != nullptr) requeue(live, live->job.attempts - 1);
}

}  // namespace ernie_image
