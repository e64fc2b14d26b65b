// Follows one run of the pipeline on behalf of its jobs: progress, previews, traces.
#pragma once

#include "jobs/job_reporter.h"
#include "jobs/job_work.h"
#include "jobs/latents_trace.h"
#include "jobs/time_estimate.h"
#include "pipeline/preview.h"

namespace ernie_image {

class ChunkListener {
 public:
  /// All of them must outlive it, and `preview` what it has told `reporter` as well.
  ChunkListener(JobReporter& reporter, const PreviewModel& preview, const JobChunk& chunk,
                TimeEstimate& estimate)
      : reporter_(reporter), preview_(preview), chunk_(chunk), estimate_(estimate) {}

  /// What is to listen to the run.
  LatentsTrace& trace() { return trace_; }

  void operator()(const Progress& progress);

 private:
  void tell(JobWork& work, int index, const Progress& progress, JobProgress told);

  JobReporter& reporter_;
  const PreviewModel& preview_;
  const JobChunk& chunk_;
  TimeEstimate& estimate_;
  LatentsTrace trace_;
};

}  // namespace ernie_image
