// What those who ask see of it; sqlite_claims.cpp is for the workers.
#include "jobs/sqlite_queue.h"

#include <algorithm>
#include <cmath>

#include "jobs/clock.h"
#include "jobs/job_files.h"
#include "jobs/job_id.h"
#include "jobs/job_json.h"

namespace ernie_image {
namespace {

using Lock = std::unique_lock<std::mutex>;

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

std::optional<Job> SqliteQueue::find_by_key(const std::string& owner,
                                            const std::string& idempotency_key) {
  const Lock lock(mutex_);
  const std::optional<Job> known = store_.find_by_key(owner, idempotency_key);
  const Live live = known ? find_live(known->id) : nullptr;
  return live != nullptr ? snapshot(*live) : known;
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
  const auto name = job ? image_file_of(*job, index) : std::nullopt;
  return name ? read_file(id, *name) : std::nullopt;
}

std::optional<Bytes> SqliteQueue::trace(const std::string& id) {
  return is_job_id(id) ? read_file(id, ImageFolder::trace_name(id)) : std::nullopt;
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
  const auto now = Clock::now();
  std::erase_if(workers_,
                [&](const auto& entry) { return now - entry.second.heard > kClaimExpiry; });
  std::vector<WorkerInfo> workers;
  for (const auto& [name, worker] : workers_) {
    const auto silent = std::chrono::duration_cast<std::chrono::milliseconds>(now - worker.heard);
    workers.push_back(worker.info);
    workers.back().last_seen_ms = now_ms() - silent.count();
  }
  return workers;
}

// --- coming and going

Job SqliteQueue::submit(const JobRequest& request, const std::string& owner,
                        const std::string& idempotency_key, const JobInputs& inputs) {
  check_job_request(request);
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
  try {
    write_inputs(live->job.id, inputs);
    store_.insert(live->job, idempotency_key);
  } catch (...) {
    remove_inputs(live->job);
    throw;
  }
  live_[live->job.id] = live;
  enqueue(live, false);
  return snapshot(*live);
}

/// Before the job itself: one whose picture is missing could not be done.
void SqliteQueue::write_inputs(const std::string& id, const JobInputs& inputs) {
  for (const JobFile& file : files_of(id, inputs)) {
    if (folder_) {
      folder_->write(file.name, file.bytes);
    } else {
      store_.write_file(id, file.name, file.bytes);
    }
  }
}

void SqliteQueue::remove_inputs(const Job& job) {
  if (job.request.picture_use.sha256.empty()) return;
  for (const std::string& name : input_names_of(job.id)) {
    if (folder_) {
      folder_->remove(name);
    } else {
      store_.remove_file(job.id, name);
    }
  }
}

JobInputs SqliteQueue::inputs(const std::string& id) {
  if (!is_job_id(id)) return {};
  const auto [image, mask] = input_names_of(id);
  return {read_file(id, image).value_or(""), read_file(id, mask).value_or("")};
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
  // A claimed one of which nothing has been done is over too: its worker hears of it when it
  // begins.
  if (changed.state == JobState::queued || changed.progress.stage.empty()) {
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
  try {
    const std::optional<Job> job = store_.find(id);
    if (job) remove_final(*job);
    return job.has_value();
  } catch (const DamagedJob&) {
    if (folder_) folder_->remove_all_of(id);
    store_.remove(id);
    return true;
  }
}

bool SqliteQueue::remove_image(const std::string& id, int index) {
  const Lock lock(mutex_);
  if (find_live(id) != nullptr) return false;
  std::optional<Job> job = store_.find(id);
  const auto name = job ? image_file_of(*job, index) : std::nullopt;
  if (!name) return false;
  if (folder_) {
    folder_->remove(*name);
  } else {
    store_.remove_file(id, *name);
  }
  job->images[static_cast<std::size_t>(index)].is_removed = true;
  store_.save(*job);
  return true;
}

/// Files first: a file without a job would stay for ever.
void SqliteQueue::remove_final(const Job& job) {
  remove_files(job.id, job.images);
  store_.remove(job.id);
}

void SqliteQueue::remove_files(const std::string& id, const std::vector<JobImage>& images) const {
  if (!folder_) return;
  for (const std::string& name : file_names_of(id, images)) folder_->remove(name);
}

void SqliteQueue::forget_surplus() {
  int kept = options_.max_finished;
  if (kept == 0 && options_.jobs_db == ":memory:") kept = kMaxFinishedInMemory;
  if (kept == 0) return;
  for (const Job& job : store_.surplus(kept)) remove_final(job);
}

}  // namespace ernie_image
