// A queue that tells the metrics what becomes of the jobs of this process's workers; otherwise the
// queue that it wraps.
#pragma once

#include <map>
#include <mutex>

#include "server/metrics.h"

namespace ernie_image {

class MeasuredQueue final : public JobQueue {
 public:
  /// Both must outlive it.
  MeasuredQueue(JobQueue& queue, Metrics& metrics) : queue_(queue), metrics_(metrics) {}

  Job submit(const JobRequest& request, const std::string& owner,
             const std::string& idempotency_key, const JobInputs& inputs) override {
    return queue_.submit(request, owner, idempotency_key, inputs);
  }
  JobInputs inputs(const std::string& id) override { return queue_.inputs(id); }
  std::optional<Job> find(const std::string& id) override { return queue_.find(id); }
  std::optional<Job> find_by_key(const std::string& owner,
                                 const std::string& idempotency_key) override {
    return queue_.find_by_key(owner, idempotency_key);
  }
  std::vector<Job> list(const JobFilter& filter) override { return queue_.list(filter); }
  std::optional<Job> wait(const std::string& id, std::int64_t version,
                          std::chrono::milliseconds timeout) override {
    return queue_.wait(id, version, timeout);
  }
  bool cancel(const std::string& id) override;
  bool remove(const std::string& id) override { return queue_.remove(id); }
  bool remove_image(const std::string& id, int index) override {
    return queue_.remove_image(id, index);
  }
  std::optional<Bytes> image(const std::string& id, int index) override {
    return queue_.image(id, index);
  }
  std::optional<Bytes> preview(const std::string& id) override { return queue_.preview(id); }
  std::optional<Bytes> trace(const std::string& id) override { return queue_.trace(id); }
  QueueCounts counts() override { return queue_.counts(); }
  std::vector<WorkerInfo> workers() override { return queue_.workers(); }

  void announce(const WorkerInfo& worker) override { queue_.announce(worker); }
  std::vector<Job> claim(const WorkerInfo& worker, const BatchLimit& limit,
                         std::chrono::milliseconds timeout) override;
  bool report(const std::string& id, const std::string& worker, const JobProgress& progress,
              const Bytes& preview) override;
  void complete(const std::string& id, const std::string& worker, const JobResult& result) override;
  void fail(const std::string& id, const std::string& worker, const JobFailure& failure) override;
  void release(const std::string& id, const std::string& worker) override;

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Run {
    JobKind kind = JobKind::image;
    Time start;
    std::string stage;
    Time stage_start;
    int steps = 0;
  };

  void enter_stage(Run& run, const std::string& stage, Time now);
  void leave_stage(const Run& run, Time now);
  /// Forgets the run, and if the job is ended counts what the queue says about it.
  void end_run(const std::string& id, bool is_ended);

  JobQueue& queue_;
  Metrics& metrics_;
  std::mutex mutex_;
  std::map<std::string, Run> runs_;
};

}  // namespace ernie_image
