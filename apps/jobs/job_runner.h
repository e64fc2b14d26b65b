// Does the work of claimed jobs: enhancer, pipeline, picture files with their records.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cli/enhance_flags.h"
#include "ernie_image/cancel.h"
#include "jobs/chrome_trace.h"
#include "jobs/job_queue.h"
#include "jobs/job_reporter.h"
#include "jobs/latents_trace.h"
#include "jobs/preview.h"
#include "jobs/time_estimate.h"

namespace ernie_image {

inline constexpr int kMaxBatch = 64;

struct RunnerOptions {
  LoadOptions load;  ///< what the pipeline was loaded with, for the pictures' records
  EnhanceFlags enhance;
  /// Pictures in one run of the pipeline, up to kMaxBatch; 0: what is fast for their size.
  int max_batch = 0;
};

/// Pictures of that size that one run of the pipeline should make.
int images_at_once(int width_px, int height_px, const RunnerOptions& options);

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
  struct Work;
  struct Picture;
  class ChunkListener;
  class ReportsEnd;
  using Chunk = std::vector<Picture>;

  void enhance(Work& work);
  bool next_chunk(std::deque<Work>& works, int limit, Chunk& chunk);
  void run_chunk(const Chunk& chunk, TimeEstimate& estimate);
  void run_chunk_guarded(const Chunk& chunk, TimeEstimate& estimate);
  Request chunk_request(const Chunk& chunk, LatentsTrace& trace) const;
  FinishedImage finished_image(const Picture& picture, const Image& image) const;
  void complete(Work& work);
  void fail(Work& work, const std::string& kind, const std::string& message);
  void guarded(const std::vector<Work*>& works, const std::function<void()>& action);

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
