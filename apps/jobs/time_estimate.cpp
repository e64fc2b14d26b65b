#include "jobs/time_estimate.h"

#include <algorithm>

namespace ernie_image {

TimeEstimate::TimeEstimate(const StageRates& rates, int images, int chunk, int steps, double pixels)
    : rates_(rates), images_(images), chunk_(chunk), steps_(steps), pixels_(pixels) {}

void TimeEstimate::begin_chunk(int done, int chunk) {
  done_ = done;
  chunk_ = chunk;
  step_ = decoded_ = 0;
}

void TimeEstimate::update(const Progress& progress) {
  if (progress.step == 0) return;
  const double per_unit = progress.stage_seconds / progress.step / pixels_;
  if (progress.stage == Stage::transformer) {
    step_ = progress.step;
    steps_ = progress.steps;  // fewer than were asked for if there is a picture
    rates_.step_seconds_per_pixel = per_unit / chunk_;
  } else if (progress.stage == Stage::vae_decoder) {
    decoded_ = progress.step;
    rates_.decode_seconds_per_pixel = per_unit;
  }
}

std::optional<double> TimeEstimate::seconds_left() const {
  if (rates_.step_seconds_per_pixel == 0) return std::nullopt;
  // Before anything was decoded, decoding is taken to be as long as a step.
  const double decode = rates_.decode_seconds_per_pixel > 0 ? rates_.decode_seconds_per_pixel
                                                            : rates_.step_seconds_per_pixel;
  const int later = images_ - done_ - chunk_;
  const double image_steps = double(steps_ - step_) * chunk_ + double(steps_) * later;
  const double images = chunk_ - decoded_ + later;
  return pixels_ * (image_steps * rates_.step_seconds_per_pixel + images * decode);
}

void TimeEstimate::fill(JobProgress& progress) {
  progress.seconds_left = seconds_left();
  if (progress.seconds_left) {
    const double elapsed =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    const double whole = elapsed + *progress.seconds_left;
    if (whole > 0) fraction_ = std::clamp(elapsed / whole, fraction_, 1.0);
  }
  progress.fraction = fraction_;
}

}  // namespace ernie_image
