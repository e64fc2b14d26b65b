// Tells the queue how jobs are getting on, from a thread of its own: neither a slow network nor a
// preview holds up the denoising, and a long stage does not look like a dead worker.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "ernie_image/cancel.h"
#include "jobs/job_queue.h"

namespace ernie_image {

class JobReporter {
 public:
  using MakePreview = std::function<Bytes()>;

  /// Announces the worker from now on, and every kHeartbeat. `queue` must outlive it.
  JobReporter(JobQueue& queue, const WorkerInfo& worker);
  ~JobReporter();
  JobReporter(const JobReporter&) = delete;
  JobReporter& operator=(const JobReporter&) = delete;

  /// From now on the job's claim is kept alive. `token` is requested once all jobs that were begun
  /// with it have been stopped.
  void begin(const std::string& id, std::shared_ptr<CancelToken> token);
  /// Returns at once. Of several updates between two reports the last is told; `preview` is made by
  /// the reporter's thread.
  void update(const std::string& id, const JobProgress& progress, MakePreview preview = {});
  /// Cancelled, or another worker's by now.
  bool is_stopped(const std::string& id) const;
  /// Nothing is told of the job any more once this returns.
  void end(const std::string& id);

  /// What is announced of the worker's speed: seconds a pixel and step, at pictures of that size.
  void set_pace(double step_seconds_per_pixel, int pixels);
  /// As it is announced.
  WorkerInfo worker() const;

 private:
  struct Entry {
    std::shared_ptr<CancelToken> token;
    JobProgress progress;
    MakePreview preview;
    bool is_stopped = false;
  };

  void run();
  /// The lock is held before and after, and not while the queue is told.
  void report_next(std::unique_lock<std::mutex>& lock);
  void announce();
  void report(const std::string& id, const Entry& entry);
  void stop(const std::string& id);

  JobQueue& queue_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  WorkerInfo worker_;
  std::map<std::string, Entry> jobs_;
  std::set<std::string> changed_;
  std::string reporting_;  // the job that the thread is telling of
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace ernie_image
