// What fits, and that a run under a limit makes the same picture in the memory that was planned.
#include "memory/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "backend/cpu/cpu_backend.h"
#include "ernie_image/cancel.h"
#include "ernie_image/pipeline.h"
#include "io/model_folder.h"
#include "memory/memory_limit.h"
#include "pipeline/rehearsal.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

/// 100 bytes that are always needed, 10 layers of 50, 5 of activations.
Ledger::Held ten_layers(const ResidencyPlan& residency) {
  const auto layers = static_cast<std::uint64_t>(
      std::min(residency.layers, residency.resident_layers + residency.window_layers));
  return {5, 100 + 50 * layers, 0};
}

StagePlan fitted(std::uint64_t limit, std::uint64_t program) {
  StagePlan stage;
  stage.name = "transformer";
  fit_layers(stage, 10, program, limit, ten_layers);
  return stage;
}

TEST(MemoryFit, EverythingStaysWhereItFits) {
  const StagePlan stage = fitted(630, 25);
  EXPECT_TRUE(stage.fits);
  EXPECT_FALSE(stage.streams());
  EXPECT_EQ(stage.peak.weights, 600u);
  EXPECT_EQ(stage.total_bytes, 630u);
}

TEST(MemoryFit, KeepsAsManyLayersAsFitBesideTheWindow) {
  const StagePlan stage = fitted(629, 25);  // one byte short: 9 places
  EXPECT_TRUE(stage.fits);
  EXPECT_EQ(stage.residency.window_layers, 2);
  EXPECT_EQ(stage.residency.resident_layers, 7);
  EXPECT_EQ(stage.weight_bytes, 600u);
  EXPECT_EQ(stage.total_bytes, 580u);
}

TEST(MemoryFit, GivesUpReadingAheadLast) {
  EXPECT_EQ(fitted(230, 25).residency.window_layers, 2);
  EXPECT_EQ(fitted(229, 25).residency.window_layers, 1);
  EXPECT_EQ(fitted(229, 25).residency.resident_layers, 0);
  EXPECT_TRUE(fitted(180, 25).fits);
  EXPECT_FALSE(fitted(179, 25).fits);
  EXPECT_EQ(fitted(179, 25).least_bytes, 180u);
}

/// A decoder of 4 blocks that takes 1000 in one piece, 600 in small bands, and in blended bands the
/// more the more blocks are whole.
Ledger::Held banded(const DecodeBands& bands) {
  if (bands.whole_blocks >= 4) return {bands == DecodeBands() ? 1000u : 600u, 0, 0};
  return {100 * (1 + bands.whole_blocks) + static_cast<std::uint64_t>(bands.strip_rows), 0, 0};
}

StagePlan decoder(std::uint64_t limit) {
  StagePlan stage;
  stage.name = "vae";
  fit_bands(stage, {4, 96, 128}, 10, limit, banded);
  return stage;
}

TEST(MemoryFit, CutsExactBandsBeforeBlendedOnes) {
  EXPECT_EQ(decoder(1010).bands, DecodeBands());
  const DecodeBands small = decoder(1009).bands;
  EXPECT_LT(small.band_bytes, DecodeBands().band_bytes);
  EXPECT_GE(small.whole_blocks, 4u);
  EXPECT_EQ(decoder(610).bands, small);
  EXPECT_EQ(decoder(609).bands.whole_blocks, 3u);
  EXPECT_EQ(decoder(609).bands.strip_rows, 199);
}

TEST(MemoryFit, SaysWhatTheSmallestBandsTake) {
  const StagePlan stage = decoder(205);
  EXPECT_FALSE(stage.fits);
  EXPECT_EQ(stage.least_bytes, 206u);
  EXPECT_TRUE(decoder(206).fits);
  EXPECT_EQ(decoder(206).bands.whole_blocks, 0u);
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
    return GenerationRehearsal(*ops_, configs_, weights_, generation_of(request, configs_),
                               Precision::fp32, Quantization::none)
        .on_host(limit_bytes);
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
    request.num_images_per_prompt = 16;  // the transformer then takes more than the decoder
    return request;
  }

  std::unique_ptr<Backend> ops_ = make_cpu_backend({.num_threads = 2, .kernels = "auto"});
  ModelFolder folder_;
  ModelConfigs configs_;
  ModelWeights weights_;
};

TEST_F(TinyModelPlan, CountsEveryByteOfTheTransformerOnce) {
  std::uint64_t bytes = 0;
  for (const Weight& weight : weights_.transformer.all()) bytes += weight.size_bytes();
  // Vectors are copied when the model is loaded.
  EXPECT_LE(plan(0).stage("transformer").weight_bytes, bytes);
  EXPECT_GE(plan(0).stage("transformer").weight_bytes, bytes * 99 / 100);
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
  Request one_picture = request();
  one_picture.num_images_per_prompt = 1;
  for (const StageMemory& stage : pipeline(0).generate(one_picture).memory) {
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
    for (const char* part :
         {"at least", "MiB", "one layer at a time", "--memory-limit", "--dtype bf16"})
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
