// How a worker does its jobs, and how many pictures it makes at once.
#pragma once

#include <memory>

#include "common/enhance_flags.h"
#include "ernie_image/pipeline.h"
#include "jobs/batch_limit.h"
#include "jobs/dated_folder.h"

namespace ernie_image {

inline constexpr int kMaxBatch = 64;

struct RunnerOptions {
  LoadOptions load;  ///< what the pipeline was loaded with, for the pictures' records
  EnhanceFlags enhance;
  std::string lora_directory;  ///< of the names in jobs; empty: there are none
  /// Pictures in one run of the pipeline, up to kMaxBatch; 0: what is fast for their size.
  int max_batch = 0;
  /// Where finished pictures go besides the queue, or null
  std::shared_ptr<DatedFolder> pictures = nullptr;
};

/// What one run of the pipeline should make.
BatchLimit batch_limit(const RunnerOptions& options);

}  // namespace ernie_image
