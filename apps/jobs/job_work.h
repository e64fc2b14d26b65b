// What a worker keeps of its jobs while it does them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "jobs/chrome_trace.h"
#include "jobs/job_queue.h"
#include "request/request.h"

namespace ernie_image {

struct JobWork {
  explicit JobWork(const Job& claimed) : job(claimed), prompt(prompt_of(claimed.request)) {
    if (job.request.kind == JobKind::image) result.images.resize(job.request.seeds.size());
  }

  bool has_all() const {
    return std::ranges::none_of(result.images,
                                [](const auto& image) { return image.bytes.empty(); });
  }

  Job job;
  std::string prompt;  // enhanced, if that was asked for
  JobResult result;
  ChromeTrace trace;
  std::size_t begun = 0;  // pictures that are in a chunk or done
  int previews = 0;
  bool is_done = false;
};

/// One picture of a job.
struct JobImageWork {
  JobWork* work;
  std::size_t index;  // among the pictures of its job

  std::uint64_t seed() const { return work->job.request.seeds[index]; }
  /// One, or none.
  std::vector<std::uint64_t> variation_seed() const {
    const auto& all = work->job.request.variation_seeds;
    return all.empty() ? all : std::vector{all[index]};
  }
};

/// Pictures that one run of the pipeline makes.
using JobChunk = std::vector<JobImageWork>;

}  // namespace ernie_image
