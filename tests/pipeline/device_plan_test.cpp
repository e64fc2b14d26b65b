// The plan of a device's memory: at the released size by itself, at the tiny models against what
// the backend counted, and that against the stand-in's books.
#include "pipeline/device_plan.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <tuple>

#include "ernie_image/pipeline.h"
#include "io/model_folder.h"
#include "io/test_files.h"
#include "support/device.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::uint64_t kGB = 1000000000;

class TinyDevicePlan : public ::testing::Test {
 protected:
  TinyDevicePlan()
      : folder_(resolve_model(golden::data_path("reference/models/tiny_a"))),
        configs_(ModelConfigs::read(folder_)),
        weights_(folder_) {}

  DevicePlan plan(const std::string& offload, std::uint64_t limit = 64 * kGiB) const {
    PlanRequest request;
    request.height_px = request.width_px = 256;
    return plan_device(configs_, weights_, request, offload, limit);
  }

  ModelFolder folder_;
  ModelConfigs configs_;
  ModelWeights weights_;
};

TEST_F(TinyDevicePlan, EveryWeightOfTheTransformerIsCountedOnce) {
  std::uint64_t bytes = 0, weights = 0;
  for (const Weight& weight : weights_.transformer.all()) {
    bytes += weight.size_bytes();
    ++weights;
  }
  const std::uint64_t planned = plan("encoder").stage("transformer").weight_bytes();
  EXPECT_GE(planned, bytes);
  EXPECT_LE(planned, bytes + weights * 1024 + bytes / 16);  // alignment, vectors as f32
}

TEST_F(TinyDevicePlan, AutomaticKeepsAllThenOneStageThenTwoLayers) {
  const DevicePlan all = plan("none"), turns = plan("encoder"), two = plan("layers");
  EXPECT_GT(all.peak_bytes(), turns.peak_bytes());
  EXPECT_TRUE(plan("auto", all.peak_bytes()).keeps_all);
  EXPECT_FALSE(plan("auto", all.peak_bytes() - 1).keeps_all);
  EXPECT_EQ(two.stage("transformer").resident_bytes(),
            two.stage("transformer").fixed_bytes + 2 * two.stage("transformer").layer_bytes);
  const DeviceStage& whole = turns.stage("transformer");
  EXPECT_FALSE(plan("auto", turns.stage_bytes(whole)).stage("transformer").streams);
  EXPECT_TRUE(plan("auto", turns.stage_bytes(whole) - 1).stage("transformer").streams);
}

TEST_F(TinyDevicePlan, SaysWhatIsMissingWhereNothingHelps) {
  EXPECT_THROW(require_device_fit(plan("auto", 1 << 20), "ascend:0"), Error);
  EXPECT_THROW(require_device_fit(plan("none", plan("none").stage("transformer").weight_bytes()),
                                  "ascend:0"),
               Error);
  EXPECT_NO_THROW(require_device_fit(plan("auto"), "ascend:0"));
}

/// Names and sizes of the released model; the files are holes.
class ReleasedDevicePlan : public test::TemporaryFolder {
 protected:
  void SetUp() override {
    const std::string root = golden::data_path("../..");
    const std::string command =
        "/usr/bin/python3 '" + root + "/tools/make_random_model.py' --sparse" + " --tokenizer '" +
        root + "/models/emoji-tiny/tokenizer' --output '" + folder_ + "' 2>/dev/null";
    if (std::system(command.c_str()) != 0)
      GTEST_SKIP() << "needs python3-numpy, and files with holes";
  }

  DevicePlan plan(const std::string& offload, std::uint64_t limit = 64 * kGiB) const {
    const ModelFolder folder = resolve_model(folder_);
    PlanRequest request;
    request.height_px = request.width_px = 1024;
    request.text_tokens = 256;
    request.dtype = DType::bf16;
    return plan_device(ModelConfigs::read(folder), ModelWeights(folder), request, offload, limit);
  }
};

TEST_F(ReleasedDevicePlan, StagesInTurnAndStreamedLayersStayBelowTheirLimits) {
  EXPECT_LT(plan("encoder").peak_bytes(), 20 * kGB);
  EXPECT_LT(plan("layers").peak_bytes(), 12 * kGB);
  EXPECT_TRUE(plan("auto").keeps_all);
  EXPECT_FALSE(plan("auto", 20 * kGB).stage("transformer").streams);
  const DevicePlan small = plan("auto", 12 * kGB);
  EXPECT_TRUE(small.stage("transformer").streams);
  EXPECT_NO_THROW(require_device_fit(small, "ascend:0"));
}

/// A model folder ("" is the embedded one), the run's precision, --offload.
using RunCase = std::tuple<std::string, Precision, std::string>;

class DeviceMemory : public ::testing::TestWithParam<RunCase> {};

/// Never more than planned, and not less than a third: sizes are rounded up for the pool, the count
/// of tensors that live at once is an upper bound, and at this size small tensors are not small.
/// The workspace of 16 MiB, which would hide all else, is left out of both.
TEST_P(DeviceMemory, ARunTakesWhatWasPlanned) {
  if (test_device() != "ascend") GTEST_SKIP() << "for a device with memory of its own";
  const auto& [model, precision, offload] = GetParam();
  LoadOptions options;
  options.model = model.empty() ? kEmbeddedModel : golden::data_path("reference/models/" + model);
  options.device = test_device();
  options.precision = precision;
  options.offload = offload;
  Request request;
  request.prompts = {"a red apple on a blue table"};
  request.height_px = request.width_px = 128;
  request.num_inference_steps = 1;
  constexpr std::uint64_t kWorkspace = std::uint64_t{16} << 20;
  Pipeline pipeline = Pipeline::load(options);
  pipeline.generate(request);  // with `none` and `auto` all weights are there from now on
  for (const StageMemory& stage : pipeline.generate(request).memory) {
    const std::uint64_t planned = stage.predicted_bytes - kWorkspace;
    const std::uint64_t measured =
        stage.measured_bytes - std::min(stage.measured_bytes, kWorkspace);
    EXPECT_LE(measured, planned) << stage.stage;
    EXPECT_GE(3 * measured, planned) << stage.stage;
  }
}

std::string case_name(const ::testing::TestParamInfo<RunCase>& tested) {
  const auto& [model, precision, offload] = tested.param;
  const std::string name = model.empty() ? "embedded" : model;
  return name + (precision == Precision::bf16 ? "_bf16_" : "_fp32_") + offload;
}

INSTANTIATE_TEST_SUITE_P(Ascend, DeviceMemory,
                         ::testing::Combine(::testing::Values("", "tiny_a"),
                                            ::testing::Values(Precision::fp32, Precision::bf16),
                                            ::testing::Values("none", "encoder", "layers", "auto")),
                         case_name);

}  // namespace
}  // namespace ernie_image
