// Does the work of claimed jobs: enhancer, pipeline, picture files with their records.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ernie_image/cancel.h"
#include "jobs/job_queue.h"
#include "jobs/job_reporter.h"
#include "jobs/job_work.h"
#include "jobs/latents_trace.h"
#include "jobs/runner_options.h"
#include "jobs/time_estimate.h"
#include "pipeline/preview.h"

namespace ernie_image {

class JobRunner {
 public:
  /// All of them must outlive it.
  JobRunner(Pipeline& pipeline, JobQueue& queue, JobReporter& reporter,
            const RunnerOptions& options, std::string worker);

  /// Ends every one of the jobs, which can share a batch: completed, failed, cancelled or, after
  /// `give_back`, released. Throws only if the queue cannot be reached.
  void run(const std::vector<Job>& jobs);

  /// Stops the run from another thread; jobs that are not done go back to the queue.
  void give_back();

 private:
  class ReportsEnd;

  void enhance(JobWork& work);
  bool next_chunk(std::deque<JobWork>& works, int limit, JobChunk& chunk);
  void run_chunk(const JobChunk& chunk, TimeEstimate& estimate);
  void run_chunk_guarded(const JobChunk& chunk, TimeEstimate& estimate);
  Request chunk_request(const JobChunk& chunk, LatentsTrace& trace) const;
  FinishedImage finished_image(const JobImageWork& picture, const Image& image,
                               const std::vector<AdapterUse>& adapters) const;
  /// The picture and the mask that the job begins with.
  PictureInput given_picture(const Job& job) const;
  /// Those of the job with their paths on this machine.
  std::vector<Adapter> found_adapters(const JobRequest& request) const;
  void complete(JobWork& work);
  void store(JobWork& work);
  void persistently(const std::function<void()>& action);
  void fail(JobWork& work, const std::string& kind, const std::string& message);
  void guarded(const std::vector<JobWork*>& works, const std::function<void()>& action);

  Pipeline& pipeline_;
  JobQueue& queue_;
  JobReporter& reporter_;
  const RunnerOptions& options_;
  std::string worker_;
  PreviewModel preview_;
  StageRates rates_;
  std::mutex mutex_;
  std::shared_ptr<CancelToken> token_;  // of the current run
  bool giving_back_ = false;
};

}  // namespace ernie_image
