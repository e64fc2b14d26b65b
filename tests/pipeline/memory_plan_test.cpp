// The arithmetic of the memory plan, and that a run under a limit makes the same picture.
#include "memory/memory_plan.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ernie_image/cancel.h"
#include "ernie_image/pipeline.h"
#include "io/model_folder.h"
#include "memory/memory_limit.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

/// 100 bytes that are always needed, 10 layers of 50.
PlanStage ten_layers() {
  PlanStage stage;
  stage.name = "transformer";
  stage.fixed_bytes = 100;
  stage.layer_bytes = 50;
  stage.layers_bytes = 500;
  stage.residency.layers = stage.residency.resident_layers = 10;
  return stage;
}

PlanStage fitted(std::uint64_t limit, std::uint64_t own) {
  PlanStage stage = ten_layers();
  fit_stage(stage, limit, own);
  return stage;
}

TEST(MemoryFit, EverythingStaysWhereItFits) {
  const PlanStage stage = fitted(630, 30);
  EXPECT_TRUE(stage.fits);
  EXPECT_FALSE(stage.streams());
  EXPECT_EQ(stage.resident_bytes(), 600u);
}

TEST(MemoryFit, KeepsAsManyLayersAsFitBesideTheWindow) {
  const PlanStage stage = fitted(629, 30);  // one byte short: 9 places
  EXPECT_TRUE(stage.fits);
  EXPECT_EQ(stage.residency.window_layers, 2);
  EXPECT_EQ(stage.residency.resident_layers, 7);
  EXPECT_EQ(stage.mapped_bytes(), 600u);
  EXPECT_LE(stage.resident_bytes() + 30, 629u);
}

TEST(MemoryFit, GivesUpReadingAheadLast) {
  EXPECT_EQ(fitted(230, 30).residency.window_layers, 2);
  EXPECT_EQ(fitted(229, 30).residency.window_layers, 1);
  EXPECT_EQ(fitted(229, 30).residency.resident_layers, 0);
  EXPECT_TRUE(fitted(180, 30).fits);
  EXPECT_FALSE(fitted(179, 30).fits);
  EXPECT_FALSE(fitted(20, 30).fits);
}

TEST(MemoryPlan, AStageHoldsTheCopiesOfAllAndItsOwn) {
  PlanStage pe = ten_layers(), vae;
  pe.copied_bytes = 7;
  vae.copied_bytes = 3;
  vae.copy_stays = true;
  MemoryPlan plan;
  plan.program_bytes = 1000;
  plan.limit_bytes = 5000;
  plan.stages = {pe, vae};
  EXPECT_EQ(plan.stage_bytes(plan.stages[0]), 1000u + 600 + 7 + 3);
  EXPECT_EQ(plan.stage_bytes(plan.stages[1]), 1000u + 3);
  EXPECT_EQ(plan.peak_bytes(), 1610u);
  EXPECT_EQ(plan.enhancer_room_bytes(), 5000u - 1003);
}

class TinyModelPlan : public ::testing::Test {
 protected:
  TinyModelPlan()
      : folder_(resolve_model(golden::data_path("reference/models/tiny_a"))),
        configs_(ModelConfigs::read(folder_)),
        weights_(folder_) {}

  MemoryPlan plan(std::uint64_t limit_bytes) const {
    PlanRequest request;
    request.height_px = request.width_px = 64;
    request.limit_bytes = limit_bytes;
    return plan_memory(configs_, weights_, request);
  }

  Pipeline pipeline(std::uint64_t limit_bytes) const {
    LoadOptions options;
    options.model = folder_.path;
    options.memory_limit_bytes = limit_bytes;
    return Pipeline::load(options);
  }

  static Request request() {
    Request request;
    request.prompts = {"a red apple"};
    request.height_px = request.width_px = 64;
    request.num_inference_steps = 3;
    request.guidance_scale = 1.0;
    return request;
  }

  ModelFolder folder_;
  ModelConfigs configs_;
  ModelWeights weights_;
};

TEST_F(TinyModelPlan, CountsEveryByteOfTheTransformerOnce) {
  std::uint64_t bytes = 0;
  for (const Weight& weight : weights_.transformer.all()) bytes += weight.size_bytes();
  EXPECT_EQ(plan(0).stage("transformer").mapped_bytes(), bytes);
}

TEST_F(TinyModelPlan, MakesTheSamePictureWhenLayersAreStreamed) {
  const Result expected = pipeline(0).generate(request());
  Pipeline streamed = pipeline(expected.memory[1].predicted_bytes - 1);
  for (int run = 0; run < 2; ++run) {
    const Result result = streamed.generate(request());
    EXPECT_EQ(result.images[0].rgb, expected.images[0].rgb);
    ASSERT_EQ(result.memory.size(), 3u);
    EXPECT_EQ(result.memory[1].stage, "transformer");
    EXPECT_GT(result.memory[1].streamed_layers, 0);
  }
  EXPECT_EQ(expected.memory[1].streamed_layers, 0);
}

TEST_F(TinyModelPlan, ReportsWhatEachStageWasPlannedAndMeasuredToHold) {
  for (const StageMemory& stage : pipeline(0).generate(request()).memory) {
    EXPECT_GT(stage.predicted_bytes, 0u) << stage.stage;
    EXPECT_GT(stage.measured_bytes, 0u) << stage.stage;
  }
}

TEST_F(TinyModelPlan, CanBeCancelledWhileStreaming) {
  const Result expected = pipeline(0).generate(request());
  Pipeline streamed = pipeline(expected.memory[1].predicted_bytes - 1);
  Request cancelled = request();
  const auto cancel = std::make_shared<CancelToken>();
  cancelled.cancel = cancel;
  cancelled.on_progress = [&](const Progress& progress) {
    if (progress.stage == Stage::transformer) cancel->request();
  };
  try {
    streamed.generate(cancelled);
    ADD_FAILURE() << "was not cancelled";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::cancelled);
  }
  EXPECT_EQ(streamed.generate(request()).images[0].rgb, expected.images[0].rgb);
}

TEST_F(TinyModelPlan, SaysWhatIsMissingWhenNotEvenStreamingHelps) {
  try {
    require_fit(plan(plan(0).program_bytes + 1000));
    FAIL() << "fits";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::out_of_memory);
    const std::string message = error.what();
    for (const char* part : {"GiB", "one layer at a time", "--memory-limit", "--dtype bf16"})
      EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

TEST_F(TinyModelPlan, TheEnhancerWritesTheSameWhenStreamed) {
  EnhanceOptions options;
  options.temperature = 0;
  options.max_tokens = 5;
  Pipeline whole = pipeline(0);
  const EnhancedPrompt expected = whole.enhance("a red apple", 64, 64, options);
  const std::uint64_t limit = expected.memory.predicted_bytes - 1;
  const EnhancedPrompt streamed = pipeline(limit).enhance("a red apple", 64, 64, options);
  EXPECT_EQ(streamed.ids, expected.ids);
  EXPECT_EQ(expected.memory.streamed_layers, 0);
  EXPECT_GT(streamed.memory.streamed_layers, 0);
}

TEST(MemoryLimit, IsNeverMoreThanTheSystemHas) {
  EXPECT_GT(available_memory_bytes(), 0u);
  EXPECT_EQ(total_memory_limit(1000), 1000u);
  EXPECT_LT(total_memory_limit(std::uint64_t{1} << 62), std::uint64_t{1} << 62);
}

}  // namespace
}  // namespace ernie_image
