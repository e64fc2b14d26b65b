#include "server/measured_queue.h"

namespace ernie_image {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

bool MeasuredQueue::cancel(const std::string& id) {
  const bool is_cancelled = queue_.cancel(id);
  if (!is_cancelled) return false;
  // A running job is counted when its worker gives it up.
  const std::optional<Job> job = queue_.find_readable(id);
  if (job && job->state == JobState::cancelled && job->started_ms == 0) {
    metrics_.count_job(job->request.kind, JobState::cancelled, 0);
  }
  return true;
}

std::vector<Job> MeasuredQueue::claim(const WorkerInfo& worker, const BatchLimit& limit,
                                      std::chrono::milliseconds timeout) {
  std::vector<Job> jobs = queue_.claim(worker, limit, timeout);
  const std::lock_guard lock(mutex_);
  const Time now = Clock::now();
  for (const Job& job : jobs) runs_[job.id] = {job.request.kind, now, "", now};
  return jobs;
}

void MeasuredQueue::enter_stage(Run& run, const std::string& stage, Time now) {
  leave_stage(run, now);
  run.stage = stage;
  run.stage_start = now;
  run.steps = 0;
}

void MeasuredQueue::leave_stage(const Run& run, Time now) {
  if (run.stage.empty()) return;
  const double seconds = seconds_between(run.stage_start, now);
  metrics_.observe_stage(run.stage, seconds);
  if (run.stage == "transformer" && run.steps > 0) metrics_.observe_steps(run.steps, seconds);
}

bool MeasuredQueue::report(const std::string& id, const std::string& worker,
                           const JobProgress& progress, const Bytes& preview) {
  {
    const std::lock_guard lock(mutex_);
    const auto run = runs_.find(id);
    if (run != runs_.end()) {
      if (run->second.stage != progress.stage) {
        enter_stage(run->second, progress.stage, Clock::now());
      }
      run->second.steps = progress.step;
    }
  }
  return queue_.report(id, worker, progress, preview);
}

void MeasuredQueue::end_run(const std::string& id, bool is_ended) {
  Run run;
  {
    const std::lock_guard lock(mutex_);
    const auto found = runs_.find(id);
    if (found == runs_.end()) return;
    run = found->second;
    runs_.erase(found);
  }
  const Time now = Clock::now();
  leave_stage(run, now);
  if (!is_ended) return;
  const std::optional<Job> job = queue_.find_readable(id);
  if (job && is_final(job->state)) {
    metrics_.count_job(run.kind, job->state, seconds_between(run.start, now));
  }
}

void MeasuredQueue::complete(const std::string& id, const std::string& worker,
                             const JobResult& result) {
  queue_.complete(id, worker, result);
  end_run(id, true);
}

void MeasuredQueue::fail(const std::string& id, const std::string& worker,
                         const JobFailure& failure) {
  queue_.fail(id, worker, failure);
  end_run(id, true);
}

void MeasuredQueue::release(const std::string& id, const std::string& worker) {
  queue_.release(id, worker);
  end_run(id, false);
}

}  // namespace ernie_image
