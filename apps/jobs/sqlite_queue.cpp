#include "jobs/sqlite_queue.h"

#include <algorithm>
#include <cmath>

#include "jobs/clock.h"
#include "jobs/job_id.h"
#include "jobs/job_json.h"

namespace ernie_image {
namespace {

using Lock = std::unique_lock<std::mutex>;

const JobFailure kWorkerLost = {"worker_lost",
                                "every worker that began this job died or fell silent"};

}  // namespace

SqliteQueue::SqliteQueue(const QueueOptions& options) : options_(options), store_(options.jobs_db) {
  if (!options.output_directory.empty()) folder_.emplace(options.output_directory);
  for (Job& job : store_.unfinished()) {
    auto live = std::make_shared<LiveJob>();
    live->job = std::move(job);
    live_[live->job.id] = live;
    if (live->job.state == JobState::running) {
      requeue(live, live->job.attempts);
    } else {
      enqueue(live, false);
    }
  }
}

SqliteQueue::~SqliteQueue() = default;

// --- looking

Job SqliteQueue::snapshot(const LiveJob& live) const {
  Job job = live.job;
  if (job.state == JobState::queued) {
    job.progress.stage = "waiting";
    const auto queue = waiting_.find(job.request.model);
    if (queue != waiting_.end()) job.queue_position = queue->second.position(job.id);
  }
  return job;
}

SqliteQueue::Live SqliteQueue::find_live(const std::string& id) const {
  const auto found = live_.find(id);
  return found == live_.end() ? nullptr : found->second;
}

std::optional<Job> SqliteQueue::find(const std::string& id) {
  const Lock lock(mutex_);
  if (const Live live = find_live(id)) return snapshot(*live);
  return store_.find(id);
}

std::vector<Job> SqliteQueue::list(const JobFilter& filter) {
  const Lock lock(mutex_);
  std::vector<Job> jobs = store_.list(filter);
  for (Job& job : jobs) {
    if (const Live live = find_live(job.id)) job = snapshot(*live);
  }
  return jobs;
}

std::optional<Job> SqliteQueue::wait(const std::string& id, std::int64_t version,
                                     std::chrono::milliseconds timeout) {
  Lock lock(mutex_);
  const Live live = find_live(id);
  if (live == nullptr) return store_.find(id);
  live->changed.wait_for(lock, timeout, [&] { return live->job.version > version; });
  return snapshot(*live);
}

std::optional<Bytes> SqliteQueue::image(const std::string& id, int index) {
  const std::optional<Job> job = find(id);
  if (!job || index < 0 || index >= std::ssize(job->images)) return std::nullopt;
  const JobImage& image = job->images[static_cast<std::size_t>(index)];
  return read_file(id, PictureFolder::picture_name(id, index, extension_of(image.content_type)));
}

std::optional<Bytes> SqliteQueue::trace(const std::string& id) {
  return is_job_id(id) ? read_file(id, PictureFolder::trace_name(id)) : std::nullopt;
}

std::optional<Bytes> SqliteQueue::read_file(const std::string& id, const std::string& name) {
  if (folder_) return folder_->read(name);
  const Lock lock(mutex_);
  return store_.read_file(id, name);
}

std::optional<Bytes> SqliteQueue::preview(const std::string& id) {
  const Lock lock(mutex_);
  const Live live = find_live(id);
  if (live == nullptr || live->preview.empty()) return std::nullopt;
  return live->preview;
}

QueueCounts SqliteQueue::counts() {
  const Lock lock(mutex_);
  QueueCounts counts;
  for (const auto& [model, queue] : waiting_) counts.queued += queue.size();
  counts.running = static_cast<int>(live_.size()) - counts.queued;
  return counts;
}

std::vector<WorkerInfo> SqliteQueue::workers() {
  const Lock lock(mutex_);
  const std::int64_t oldest = now_ms() - std::chrono::milliseconds(kClaimExpiry).count();
  std::erase_if(workers_, [&](const auto& entry) { return entry.second.last_seen_ms < oldest; });
  std::vector<WorkerInfo> workers;
  for (const auto& [name, worker] : workers_) workers.push_back(worker);
  return workers;
}

// --- coming and going

Job SqliteQueue::submit(const JobRequest& request, const std::string& owner,
                        const std::string& idempotency_key) {
  check_request(request);
  const Lock lock(mutex_);
  if (const auto known = store_.find_by_key(owner, idempotency_key)) {
    const Live live = find_live(known->id);
    return live != nullptr ? snapshot(*live) : *known;
  }
  require_room();
  auto live = std::make_shared<LiveJob>();
  live->job.id = new_job_id();
  live->job.owner = owner;
  live->job.request = request;
  live->job.version = 1;
  live->job.created_ms = now_ms();
  store_.insert(live->job, idempotency_key);
  live_[live->job.id] = live;
  enqueue(live, false);
  return snapshot(*live);
}

void SqliteQueue::require_room() const {
  int queued = 0;
  for (const auto& [model, queue] : waiting_) queued += queue.size();
  if (queued < options_.max_queued) return;
  const double workers = std::max<double>(1, static_cast<double>(workers_.size()));
  const double seconds = std::clamp(std::ceil(mean_job_seconds_ / workers), 1.0, 600.0);
  throw QueueFull(std::to_string(queued) + " jobs are waiting already, and no more may",
                  std::chrono::seconds(static_cast<int>(seconds)));
}

bool SqliteQueue::cancel(const std::string& id) {
  const Lock lock(mutex_);
  const Live live = find_live(id);
  if (live == nullptr) return false;
  Job changed = live->job;
  changed.cancel_requested = true;
  if (changed.state == JobState::queued) {
    changed.state = JobState::cancelled;
    finish(live, std::move(changed));
  } else {
    change(*live, std::move(changed));
  }
  return true;
}

bool SqliteQueue::remove(const std::string& id) {
  const Lock lock(mutex_);
  if (find_live(id) != nullptr) return false;
  const std::optional<Job> job = store_.find(id);
  if (job) remove_final(*job);
  return job.has_value();
}

/// Files first: a file without a job would stay for ever.
void SqliteQueue::remove_final(const Job& job) {
  remove_files(job.id, job.images);
  store_.remove(job.id);
}

void SqliteQueue::remove_files(const std::string& id, const std::vector<JobImage>& images) const {
  if (!folder_) return;
  for (int i = 0; i < std::ssize(images); ++i) {
    const std::string& type = images[static_cast<std::size_t>(i)].content_type;
    folder_->remove(PictureFolder::picture_name(id, i, extension_of(type)));
  }
  folder_->remove(PictureFolder::trace_name(id));
}

void SqliteQueue::forget_surplus() {
  int kept = options_.max_finished;
  if (kept == 0 && options_.jobs_db == ":memory:") kept = kMaxFinishedInMemory;
  if (kept == 0) return;
  for (const Job& job : store_.surplus(kept)) remove_final(job);
}

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
  live->heard = Clock::now();
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
    const double seconds = static_cast<double>(changed.finished_ms - changed.started_ms) / 1000;
    mean_job_seconds_ = mean_job_seconds_ == 0 ? seconds : 0.8 * mean_job_seconds_ + 0.2 * seconds;
  }
  change(*live, std::move(changed));
  const auto queue = waiting_.find(live->job.request.model);
  if (queue != waiting_.end()) queue->second.remove(live->job.id);
  live_.erase(live->job.id);
}

// --- workers

void SqliteQueue::announce(const WorkerInfo& worker) {
  const Lock lock(mutex_);
  workers_[worker.name] = worker;
  workers_[worker.name].last_seen_ms = now_ms();
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

std::vector<Job> SqliteQueue::take(const WorkerInfo& worker, int max_jobs) {
  std::vector<Job> jobs;
  const auto found = waiting_.find(worker.model);
  if (found == waiting_.end()) return jobs;
  FairQueue& queue = found->second;
  std::string batch;
  // Nobody is passed over: a batch ends where the next job in line does not fit it.
  while (std::ssize(jobs) < max_jobs && queue.next() != nullptr) {
    if (!jobs.empty() && queue.next()->batch != batch) break;
    batch = queue.next()->batch;
    const Live live = live_.at(queue.next()->id);
    begin(live, worker.name);
    queue.pop();
    jobs.push_back(live->job);
  }
  return jobs;
}

std::vector<Job> SqliteQueue::claim(const WorkerInfo& worker, int max_jobs,
                                    std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  // So often a silent worker's jobs are looked for.
  const auto period =
      std::min<std::chrono::milliseconds>(options_.claim_expiry / 4, std::chrono::seconds(1));
  Lock lock(mutex_);
  while (true) {
    reclaim_expired();
    std::vector<Job> jobs = take(worker, max_jobs);
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
  const bool has_pictures = job && job->state == JobState::completed;
  if (!has_pictures) remove_files(id, outcome_of(result).images);
}

void SqliteQueue::write_files(const std::string& id, const JobResult& result) const {
  if (!folder_) return;
  for (int i = 0; i < std::ssize(result.images); ++i) {
    const FinishedImage& finished = result.images[static_cast<std::size_t>(i)];
    folder_->write(PictureFolder::picture_name(id, i, extension_of(finished.image.content_type)),
                   finished.bytes);
  }
  if (!result.trace.empty()) folder_->write(PictureFolder::trace_name(id), result.trace);
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
  if (folder_) return finish(live, std::move(changed));
  for (int i = 0; i < std::ssize(result.images); ++i) {
    const FinishedImage& finished = result.images[static_cast<std::size_t>(i)];
    const std::string extension = extension_of(finished.image.content_type);
    store_.write_file(changed.id, PictureFolder::picture_name(changed.id, i, extension),
                      finished.bytes);
  }
  if (!result.trace.empty()) {
    store_.write_file(changed.id, PictureFolder::trace_name(changed.id), result.trace);
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
