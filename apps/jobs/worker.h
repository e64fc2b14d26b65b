// Claims jobs and does them, one batch after another, on one device.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <thread>

#include "jobs/job_queue.h"
#include "jobs/job_runner.h"

namespace ernie_image {

struct WorkerOptions {
  RunnerOptions runner;
  std::string name;   ///< unique in the fleet; empty: host, process and a number
  std::string model;  ///< what jobs ask for; empty: the pipeline's own name
};

/// One thread runs the pipeline, one tells the queue.
class Worker {
 public:
  /// Begins at once. `queue` must outlive it. Throws Error(invalid_argument) for names that others
  /// could not read.
  Worker(JobQueue& queue, Pipeline pipeline, const WorkerOptions& options);
  /// Gives back what is not done.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Claims nothing more, and returns when what was claimed is done. What is not within `deadline`
  /// goes back to the queue.
  void drain(std::chrono::milliseconds deadline);

  /// Throws the StoreRefused that has ended this worker, if one has.
  void throw_if_refused();

  const WorkerInfo& info() const { return info_; }

 private:
  void run();
  void claim_until_drained();
  void run_once();

  JobQueue& queue_;
  Pipeline pipeline_;
  const WorkerOptions options_;
  const WorkerInfo info_;
  JobReporter reporter_;
  JobRunner runner_;
  std::atomic<bool> draining_ = false;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool has_ended_ = false;
  std::exception_ptr refusal_;
  std::thread thread_;
};

}  // namespace ernie_image
