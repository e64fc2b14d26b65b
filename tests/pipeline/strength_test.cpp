// What each strength mode makes of a schedule.
#include "sampling/strength.h"

#include <gtest/gtest.h>

#include <string>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr SchedulerConfig kReleased = {.shift = 4.0, .num_train_timesteps = 1000};

std::vector<float> sigmas(double strength, StrengthMode mode, int steps = 8) {
  return strength_sigmas(kReleased, steps, strength, mode);
}

int steps_run(double strength, StrengthMode mode, int steps) {
  return static_cast<int>(sigmas(strength, mode, steps).size()) - 1;
}

struct Row {
  double strength;
  int steps;
  float first_sigma;
};

void expect_rows(StrengthMode mode, const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    const std::vector<float> found = sigmas(row.strength, mode);
    EXPECT_EQ(static_cast<int>(found.size()) - 1, row.steps) << row.strength;
    EXPECT_NEAR(found.front(), row.first_sigma, 5e-5f) << row.strength;
    EXPECT_EQ(found.back(), 0.0f) << row.strength;
    for (std::size_t i = 1; i < found.size(); ++i)
      EXPECT_LT(found[i], found[i - 1]) << row.strength << ", step " << i;
  }
}

// First sigmas and steps of 8 as the programs themselves have them.
TEST(Strength, DiffusersRows) {
  expect_rows(StrengthMode::diffusers,
              {{.3, 3, .7059f}, {.5, 4, .8f}, {.6, 5, .8696f}, {.75, 6, .9231f}, {.9, 8, 1}});
}

TEST(Strength, StableDiffusionCppAndA1111Rows) {
  for (const StrengthMode mode : {StrengthMode::sdcpp, StrengthMode::a1111}) {
    expect_rows(mode,
                {{.3, 3, .7059f}, {.5, 5, .8696f}, {.6, 5, .8696f}, {.75, 7, .9655f}, {.9, 8, 1}});
  }
}

TEST(Strength, ComfyUiRows) {
  expect_rows(StrengthMode::comfyui,
              {{.3, 8, .64f}, {.5, 8, .8f}, {.6, 8, .8649f}, {.75, 8, .9412f}, {.9, 8, 1}});
}

TEST(Strength, ExactBeginsAtTheStrength) {
  for (const double strength : {.05, .3, .5, .6, .75, .9, .99})
    EXPECT_EQ(sigmas(strength, StrengthMode::exact).front(), static_cast<float>(strength));
  // .8 is the fifth sigma of the schedule of 8, which goes on as it would have.
  expect_rows(StrengthMode::exact, {{.8, 4, .8f}, {.3, 1, .3f}, {.6, 3, .6f}, {.99, 8, .99f}});
  const std::vector<float> found = sigmas(.8, StrengthMode::exact);
  EXPECT_NEAR(found[1], .7059f, 5e-5f);
  EXPECT_NEAR(found[2], .5714f, 5e-5f);
}

/// 50 * 0.58 is 28.999... in double and 29 in float.
TEST(Strength, CountsInTheNumbersOfEachProgram) {
  EXPECT_EQ(steps_run(.58, StrengthMode::sdcpp, 50), 30);
  EXPECT_EQ(steps_run(.58, StrengthMode::a1111, 50), 29);
  EXPECT_EQ(steps_run(.58, StrengthMode::diffusers, 50), 29);
}

TEST(Strength, OneIsTheWholeScheduleInEveryMode) {
  for (const int steps : {1, 8, 50}) {
    const FlowMatchEulerScheduler whole(kReleased, steps);
    for (const StrengthMode mode :
         {StrengthMode::diffusers, StrengthMode::sdcpp, StrengthMode::comfyui, StrengthMode::a1111,
          StrengthMode::exact})
      EXPECT_EQ(sigmas(1.0, mode, steps), whole.sigmas());
  }
}

TEST(Strength, TinyStrengthsAreBounded) {
  for (const StrengthMode mode :
       {StrengthMode::sdcpp, StrengthMode::comfyui, StrengthMode::a1111, StrengthMode::exact}) {
    const std::vector<float> found = sigmas(1e-12, mode);
    EXPECT_GE(found.size(), 2u);
    EXPECT_LE(found.size(), 9u);
  }
}

TEST(Strength, ThatLeavesNoStepIsRefused) {
  // 8 - 8e-17 is 8: nothing would run.
  EXPECT_THROW(sigmas(1e-17, StrengthMode::diffusers), Error);
}

}  // namespace
}  // namespace ernie_image
