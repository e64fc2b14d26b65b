#include "jobs/time_estimate.h"

#include <gtest/gtest.h>

namespace ernie_image {
namespace {

TEST(TimeEstimate, KnowsNothingBeforeTheFirstStep) {
  TimeEstimate estimate({}, 1, 1, 8, 100);
  JobProgress progress;
  estimate.fill(progress);
  EXPECT_FALSE(progress.seconds_left);
  EXPECT_EQ(progress.fraction, 0);
}

TEST(TimeEstimate, CountsStepsDecodingAndLaterChunks) {
  // 3 pictures, 2 at a time; a step takes 1 s a picture, decoding 4 s.
  TimeEstimate estimate({0, 0.04}, 3, 2, 10, 100);
  estimate.begin_chunk(0, 2);
  JobProgress progress;
  estimate.update({Stage::transformer, 4, 10, 8});
  estimate.fill(progress);
  EXPECT_NEAR(progress.seconds_left.value(), 6 * 2 + 10 + 3 * 4, 1e-9);
  estimate.update({Stage::transformer, 10, 10, 20});
  estimate.update({Stage::vae_decoder, 1, 2, 4});
  estimate.fill(progress);
  EXPECT_NEAR(progress.seconds_left.value(), 4 + 10 + 4, 1e-9);
  estimate.begin_chunk(2, 1);
  estimate.update({Stage::transformer, 10, 10, 10});
  estimate.update({Stage::vae_decoder, 1, 1, 4});
  estimate.fill(progress);
  EXPECT_NEAR(progress.seconds_left.value(), 0, 1e-9);
  EXPECT_EQ(progress.fraction, 1);
}

TEST(TimeEstimate, TheFractionNeverFalls) {
  TimeEstimate estimate({}, 1, 1, 10, 100);
  double last = 0;
  for (int step = 1; step <= 10; ++step) {
    // Steps that seem slower and slower.
    estimate.update({Stage::transformer, step, 10, 1e-5 * step * step * step});
    JobProgress progress;
    estimate.fill(progress);
    EXPECT_GE(progress.fraction, last);
    last = progress.fraction;
  }
}

}  // namespace
}  // namespace ernie_image
