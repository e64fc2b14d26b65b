// How a worker does its jobs, and how many pictures it makes at once.
#pragma once

#include "common/enhance_flags.h"
#include "ernie_image/pipeline.h"

namespace ernie_image {

inline constexpr int kMaxBatch = 64;

struct RunnerOptions {
  LoadOptions load;  ///< what the pipeline was loaded with, for the pictures' records
  EnhanceFlags enhance;
  std::string lora_directory;  ///< of the names in jobs; empty: there are none
  /// Pictures in one run of the pipeline, up to kMaxBatch; 0: what is fast for their size.
  int max_batch = 0;
};

/// Pictures of that size that one run of the pipeline should make.
int images_at_once(int width_px, int height_px, const RunnerOptions& options);

}  // namespace ernie_image
