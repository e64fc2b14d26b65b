// How far a run is, and how long the rest will take.
#pragma once

#include <chrono>
#include <optional>

#include "ernie_image/pipeline.h"
#include "jobs/job.h"

namespace ernie_image {

/// What earlier runs took; differs between sizes by the pixels alone, which is near enough.
struct StageRates {
  double step_seconds_per_pixel = 0;    ///< of one image in one step; 0: not known yet
  double decode_seconds_per_pixel = 0;  ///< of one image
};

/// Of one job or of jobs that run as one: `images` pictures, `chunk` of them at a time.
class TimeEstimate {
 public:
  TimeEstimate(const StageRates& rates, int images, int chunk, int steps, double pixels);

  /// A chunk of so many images begins, after `done` images.
  void begin_chunk(int done, int chunk);
  /// What the pipeline reports of the chunk.
  void update(const Progress& progress);

  /// Fraction and seconds left of the whole; the fraction never falls.
  void fill(JobProgress& progress);

  StageRates rates() const { return rates_; }

 private:
  std::optional<double> seconds_left() const;

  StageRates rates_;
  int images_, chunk_, steps_;
  double pixels_;
  int done_ = 0;     // images of finished chunks
  int step_ = 0;     // of this chunk
  int decoded_ = 0;  // of this chunk
  double fraction_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace ernie_image
