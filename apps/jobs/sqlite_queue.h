// The queue of one process: who waits and who works is in memory, what must survive is in SQLite.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "jobs/fair_queue.h"
#include "jobs/image_folder.h"
#include "jobs/job_queue.h"
#include "jobs/queue_options.h"
#include "jobs/sqlite_store.h"

namespace ernie_image {

/// Jobs that were running when the last process ended are queued again.
class SqliteQueue final : public JobQueue {
 public:
  /// Throws what SqliteStore and ImageFolder throw.
  explicit SqliteQueue(const QueueOptions& options);
  ~SqliteQueue() override;

  Job submit(const JobRequest& request, const std::string& owner,
             const std::string& idempotency_key, const JobInputs& inputs) override;
  std::optional<Job> find(const std::string& id) override;
  std::optional<Job> find_by_key(const std::string& owner,
                                 const std::string& idempotency_key) override;
  std::vector<Job> list(const JobFilter& filter) override;
  std::optional<Job> wait(const std::string& id, std::int64_t version,
                          std::chrono::milliseconds timeout) override;
  bool cancel(const std::string& id) override;
  bool remove(const std::string& id) override;
  bool remove_image(const std::string& id, int index) override;
  std::optional<Bytes> image(const std::string& id, int index) override;
  std::optional<Bytes> preview(const std::string& id) override;
  std::optional<Bytes> trace(const std::string& id) override;
  QueueCounts counts() override;
  std::vector<WorkerInfo> workers() override;

  void announce(const WorkerInfo& worker) override;
  std::vector<Job> claim(const WorkerInfo& worker, const BatchLimit& limit,
                         std::chrono::milliseconds timeout) override;
  JobInputs inputs(const std::string& id) override;
  bool report(const std::string& id, const std::string& worker, const JobProgress& progress,
              const Bytes& preview) override;
  void complete(const std::string& id, const std::string& worker, const JobResult& result) override;
  void fail(const std::string& id, const std::string& worker, const JobFailure& failure) override;
  void release(const std::string& id, const std::string& worker) override;

 private:
  using Clock = std::chrono::steady_clock;

  /// A job that is not final. Those who wait for it share it, so that it outlives its entry.
  struct LiveJob {
    Job job;
    std::string worker;       // who has claimed it
    Clock::time_point begun;  // by that worker
    Clock::time_point heard;  // from it
    Bytes preview;
    std::condition_variable changed;
  };
  using Live = std::shared_ptr<LiveJob>;

  struct LiveWorker {
    WorkerInfo info;
    Clock::time_point heard;
  };

  // All of these are called with the mutex held. A change is on the disk before it is seen: where
  // the store throws, nothing has changed.
  Job snapshot(const LiveJob& live) const;
  Live find_live(const std::string& id) const;
  Live claimed(const std::string& id, const std::string& worker) const;
  void change(LiveJob& live, Job changed);
  void enqueue(const Live& live, bool first);
  void begin(const Live& live, const std::string& worker);
  void requeue(const Live& live, int attempts);
  void finish(const Live& live, Job changed);
  void reclaim_expired();
  void fail_orphans();
  std::vector<Job> take(const WorkerInfo& worker, const BatchLimit& limit);
  int share_of(const WorkerInfo& worker, int waiting) const;
  void require_room() const;
  void forget_surplus();
  void remove_final(const Job& job);
  void remove_files(const std::string& id, const std::vector<JobImage>& images) const;
  void write_inputs(const std::string& id, const JobInputs& inputs);
  void remove_inputs(const Job& job);
  void complete_in_store(const Live& live, const JobResult& result);

  // And these without.
  void write_files(const std::string& id, const JobResult& result) const;
  std::optional<Bytes> read_file(const std::string& id, const std::string& name);

  const QueueOptions options_;
  std::optional<ImageFolder> folder_;
  mutable std::mutex mutex_;
  SqliteStore store_;
  std::unordered_map<std::string, Live> live_;
  std::map<std::string, FairQueue> waiting_;  // by model
  /// When a worker of the model was last heard, or a job first waited for one
  std::map<std::string, Clock::time_point> served_;
  std::map<std::string, LiveWorker> workers_;  // by name
  std::condition_variable work_;
  double mean_job_seconds_ = 0;  // of the last jobs, 0: none yet
};

}  // namespace ernie_image
