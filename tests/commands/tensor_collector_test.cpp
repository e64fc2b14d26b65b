#include "common/tensor_collector.h"

#include <gtest/gtest.h>

namespace ernie_image {
namespace {

TEST(TensorCollector, WantsTheStagesOnly) {
  const TensorCollector collector(false);
  for (const char* name :
       {"token_ids.prompt.0", "token_ids.negative.1", "text_hidden.prompt.0",
        "text_hidden.negative.0", "dit.text_bth", "dit.text_lens", "latents.initial",
        "scheduler.sigmas", "scheduler.timesteps", "step0.dit_output", "step12.latents",
        "latents.final", "vae.input", "vae.output", "image.uint8"}) {
    EXPECT_TRUE(collector.wants(name)) << name;
  }
  for (const char* name : {"dit.block0.input", "vae.mid_block", "text.layer0", "dit.rope_angles"}) {
    EXPECT_FALSE(collector.wants(name)) << name;
  }
}

TEST(TensorCollector, WantsBlocksWhenAsked) {
  const TensorCollector collector(true);
  EXPECT_TRUE(collector.wants("dit.block0.input"));
  EXPECT_TRUE(collector.wants("vae.mid_block"));
  EXPECT_FALSE(collector.wants("text.layer0"));
}

TEST(TensorCollector, KeepsTheFirstOfEachName) {
  TensorCollector collector(true);
  collector.record("dit.final_norm", Tensor::host(DType::f32, {1}));
  EXPECT_FALSE(collector.wants("dit.final_norm"));
  collector.record("dit.final_norm", Tensor::host(DType::f32, {2}));
  ASSERT_EQ(collector.tensors().size(), 1u);
  EXPECT_EQ(collector.tensors()[0].second.shape(), Shape({1}));
}

}  // namespace
}  // namespace ernie_image
