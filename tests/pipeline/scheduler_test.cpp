#include "sampling/scheduler.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "core/half.h"
#include "io/test_files.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

// A last-bit difference in the division at most.
constexpr double kRelativeTolerance = 1e-6;

void expect_close(const std::vector<float>& actual, const Tensor& expected,
                  const std::string& name) {
  ASSERT_EQ(static_cast<std::int64_t>(actual.size()), expected.size()) << name;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double value = expected.data<float>()[i];
    EXPECT_NEAR(actual[i], value, kRelativeTolerance * value) << name << " " << i;
  }
}

TEST(Scheduler, SigmasAndTimestepsAgreeForEveryShiftAndStepCount) {
  const golden::Case golden_case(golden::data_path("reference/units/scheduler"));
  int compared = 0;
  for (const std::string& name : golden_case.tensors.names()) {
    double shift = 0;
    int steps = 0;
    const bool is_schedule = std::sscanf(name.c_str(), "shift%lf.steps%d", &shift, &steps) == 2;
    if (!is_schedule || !name.ends_with(".sigmas")) continue;
    const FlowMatchEulerScheduler scheduler({.shift = shift}, steps);
    const std::string stem = name.substr(0, name.rfind('.'));
    expect_close(scheduler.sigmas(), golden_case.tensors.tensor(name), name);
    expect_close(scheduler.timesteps(), golden_case.tensors.tensor(stem + ".timesteps"), stem);
    ++compared;
  }
  EXPECT_EQ(compared, 32);
}

TEST(Scheduler, RejectsStepCountsOutOfRange) {
  for (const int steps : {0, -1, 10'001}) {
    test::expect_error(ErrorKind::invalid_argument, {"num_inference_steps"},
                       [&] { FlowMatchEulerScheduler(SchedulerConfig{}, steps); });
  }
}

TEST(Scheduler, StepMovesTheLatentsByTheDifferenceOfSigmas) {
  const FlowMatchEulerScheduler scheduler({}, 2);  // sigmas 1, 0.5, 0
  const std::vector<float> latents = {1, 2, 3}, velocity = {2, 0, -4};
  const Tensor next = scheduler.step(1, Tensor::copy_of<float>(DType::f32, {3}, velocity),
                                     Tensor::copy_of<float>(DType::f32, {3}, latents));
  EXPECT_EQ(next.data<float>()[0], 0.0f);
  EXPECT_EQ(next.data<float>()[1], 2.0f);
  EXPECT_EQ(next.data<float>()[2], 5.0f);
}

TEST(Scheduler, Bf16RoundsStepSizeProductAndSum) {
  const FlowMatchEulerScheduler scheduler({.shift = 4.0}, 8);
  const float step_size = scheduler.sigmas()[1] - scheduler.sigmas()[0];
  ASSERT_NE(step_size, round_to_bf16(step_size));
  const std::vector<float> latents = {0.7f, -1.3f, 2.9f}, velocity = {1.01f, 0.37f, -2.2f};
  const Tensor next = to_float(
      scheduler.step(0, round_to(Tensor::copy_of<float>(DType::f32, {3}, velocity), DType::bf16),
                     round_to(Tensor::copy_of<float>(DType::f32, {3}, latents), DType::bf16)));
  for (int i = 0; i < 3; ++i) {
    const float product = round_to_bf16(round_to_bf16(step_size) * round_to_bf16(velocity[i]));
    EXPECT_EQ(next.data<float>()[i], round_to_bf16(round_to_bf16(latents[i]) + product));
  }
}

class SchedulerConfigTest : public test::TemporaryFolder {
 protected:
  SchedulerConfig read(const std::string& json) const {
    return SchedulerConfig::read(JsonReader::open(write("scheduler_config.json", json)));
  }
};

TEST_F(SchedulerConfigTest, MissingKeysTakeTheClassDefaults) {
  const SchedulerConfig config = read("{}");
  EXPECT_EQ(config.shift, 1.0);
  EXPECT_EQ(config.num_train_timesteps, 1000);
}

TEST_F(SchedulerConfigTest, ReadsReleasedConfigs) {
  const SchedulerConfig config = SchedulerConfig::read(JsonReader::open(
      golden::data_path("reference/models/tiny_b/scheduler/scheduler_config.json")));
  EXPECT_EQ(config.shift, 3.0);
}

TEST_F(SchedulerConfigTest, RefusesWhatWouldChangeTheSchedule) {
  for (const std::string key : {"use_dynamic_shifting", "use_karras_sigmas", "use_beta_sigmas",
                                "use_exponential_sigmas", "invert_sigmas", "stochastic_sampling"}) {
    EXPECT_NO_THROW(read("{\"" + key + "\": false}"));
    test::expect_error(ErrorKind::unsupported, {"scheduler_config.json", key},
                       [&] { read("{\"" + key + "\": true}"); });
  }
  test::expect_error(ErrorKind::unsupported, {"shift_terminal"},
                     [&] { read(R"({"shift_terminal": 0.1})"); });
  EXPECT_NO_THROW(read(R"({"shift_terminal": null})"));
  test::expect_error(ErrorKind::unsupported, {"EulerDiscreteScheduler"},
                     [&] { read(R"({"_class_name": "EulerDiscreteScheduler"})"); });
}

TEST_F(SchedulerConfigTest, RejectsValuesOutOfRange) {
  for (const char* json : {R"({"shift": 0})", R"({"shift": -1})", R"({"shift": 1e9})",
                           R"({"shift": "4"})", R"({"num_train_timesteps": 0})"}) {
    test::expect_error(ErrorKind::corrupt_file, {"scheduler_config.json"}, [&] { read(json); });
  }
}

}  // namespace
}  // namespace ernie_image
