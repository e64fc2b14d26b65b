// Requests of the C API: what they give, what is told meanwhile, and which are refused.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "c_api_fixture.h"
#include "ernie_image/c.h"

using namespace c_api_test;

namespace {

TEST(CApi, DescribesItsModel) {
  ernie_image_model_info info = {};
  info.struct_size = sizeof info;
  ASSERT_EQ(ernie_image_pipeline_info(embedded(), &info, nullptr), ERNIE_IMAGE_OK);
  EXPECT_STREQ(info.path, "embedded:emoji-tiny");
  EXPECT_EQ(std::strlen(info.content_hash), 64u);
  EXPECT_EQ(info.default_height_px, 64);
  EXPECT_EQ(info.size_multiple_px, 16);
  EXPECT_EQ(info.latent_channels, 64);
  EXPECT_EQ(info.has_prompt_enhancer, 1);
}

TEST(CApi, DrawsEachPromptAndSaysWhatItTook) {
  SmallRequest request;
  request.c.prompt_count = 2;
  Said said;
  ernie_image_result* const result = ernie_image_generate(embedded(), &request.c, &said.error);
  ASSERT_NE(result, nullptr) << said.message();
  EXPECT_EQ(ernie_image_result_count(result), 2u);
  EXPECT_EQ(pixels_of(result, 1).size(), 16u * 16 * 3);
  EXPECT_NE(pixels_of(result, 0), pixels_of(result, 1));
  EXPECT_NE(std::string(ernie_image_result_json(result)).find("\"vae_decoder\":"),
            std::string::npos);
  EXPECT_EQ(ernie_image_result_latents(result, nullptr), nullptr);
  ernie_image_image image = {sizeof image, 0, 0, nullptr};
  EXPECT_EQ(ernie_image_result_image(result, 2, &image, &said.error), ERNIE_IMAGE_INVALID_ARGUMENT);
  EXPECT_NE(said.message().find("no image 2"), std::string::npos);
  ernie_image_result_free(result);
}

TEST(CApi, LatentsAloneDecodeToThePicture) {
  SmallRequest request;
  const auto drawn = pixels_drawn(request.c);
  request.c.latents_only = 1;
  ernie_image_result* const latents = ernie_image_generate(embedded(), &request.c, nullptr);
  ASSERT_NE(latents, nullptr);
  EXPECT_EQ(ernie_image_result_count(latents), 0u);
  std::int64_t shape[4] = {};
  const float* const values = ernie_image_result_latents(latents, shape);
  ASSERT_NE(values, nullptr);
  EXPECT_EQ(std::vector<std::int64_t>(shape, shape + 4), (std::vector<std::int64_t>{1, 64, 1, 1}));
  ernie_image_result* const decoded = ernie_image_decode(embedded(), values, 64, 16, 16, nullptr);
  EXPECT_EQ(pixels_of(decoded), drawn);
  ernie_image_result_free(decoded);
  ernie_image_result_free(latents);
}

TEST(CApi, EncodesAPictureToLatentsThatDecodeToIt) {
  SmallRequest request;
  request.prompts[0] = "a panda on a pink background";
  request.c.height_px = request.c.width_px = 64;
  request.c.num_inference_steps = 4;
  const auto drawn = pixels_drawn(request.c);
  ernie_image_image picture = {sizeof picture, 64, 64, drawn.data()};
  Said said;
  ernie_image_result* const encoded = ernie_image_encode(embedded(), &picture, &said.error);
  ASSERT_NE(encoded, nullptr) << said.message();
  EXPECT_EQ(ernie_image_result_count(encoded), 0u);
  std::int64_t shape[4] = {};
  const float* const latents = ernie_image_result_latents(encoded, shape);
  ASSERT_NE(latents, nullptr);
  EXPECT_EQ(std::vector<std::int64_t>(shape, shape + 4), (std::vector<std::int64_t>{1, 64, 4, 4}));
  ernie_image_result* const decoded =
      ernie_image_decode(embedded(), latents, 64 * 4 * 4, 64, 64, nullptr);
  ernie_image_image again = {sizeof again, 0, 0, nullptr};
  ASSERT_EQ(ernie_image_result_image(decoded, 0, &again, nullptr), ERNIE_IMAGE_OK);
  ernie_image_metrics metrics = {};
  metrics.struct_size = sizeof metrics;
  ASSERT_EQ(ernie_image_compare(&picture, &again, &metrics, nullptr), ERNIE_IMAGE_OK);
  EXPECT_GT(metrics.psnr_db, 20);
  ernie_image_result_free(decoded);
  ernie_image_result_free(encoded);

  picture.height_px = 20;
  Said size, none;
  EXPECT_EQ(ernie_image_encode(embedded(), &picture, &size.error), nullptr);
  EXPECT_NE(size.message().find("height 20 does not divide by 16"), std::string::npos)
      << size.message();
  picture.rgb = nullptr;
  EXPECT_EQ(ernie_image_encode(embedded(), &picture, &none.error), nullptr);
  EXPECT_NE(none.message().find("the image has no pixels"), std::string::npos) << none.message();
}

TEST(CApi, StepsAreToldAndMayBeChanged) {
  SmallRequest request;
  Steps steps;
  request.c.num_inference_steps = 3;
  request.c.on_progress = count_progress;
  request.c.on_step = follow_step;
  request.c.user_data = &steps;
  const auto plain = pixels_drawn(request.c);
  ASSERT_EQ(steps.latents.size(), 3u);
  EXPECT_EQ(steps.progress_calls, 5);  // text, three steps, picture
  EXPECT_TRUE(steps.preview.empty());
  steps.replacement = steps.latents[0];
  EXPECT_NE(pixels_drawn(request.c), plain);
}

TEST(CApi, PreviewsComeNearThePicture) {
  SmallRequest request;
  Steps steps;
  request.prompts[0] = "a panda on a pink background";
  request.c.height_px = request.c.width_px = 64;
  request.c.num_inference_steps = 2;
  request.c.on_step = follow_step;
  request.c.user_data = &steps;
  request.c.with_previews = 1;
  pixels_drawn(request.c);  // from which later previews learn
  const auto drawn = pixels_drawn(request.c);
  ASSERT_EQ(steps.preview.size(), 16u * 16 * 3);
  // The corner is background, which a preview gets right.
  for (std::size_t channel = 0; channel < 3; ++channel)
    EXPECT_NEAR(steps.preview[channel], drawn[channel], 40);
}

TEST(CApi, ACallbackStopsTheRunAndThePipelineStaysUsable) {
  SmallRequest request;
  const auto drawn = pixels_drawn(request.c);
  Steps steps;
  steps.stop_after = 0;
  SmallRequest stopped;
  stopped.c.num_inference_steps = 500;
  stopped.c.on_step = follow_step;
  stopped.c.user_data = &steps;
  Said said;
  EXPECT_EQ(ernie_image_generate(embedded(), &stopped.c, &said.error), nullptr);
  EXPECT_EQ(said.status(), ERNIE_IMAGE_CANCELLED) << said.message();
  EXPECT_EQ(steps.latents.size(), 1u);
  EXPECT_EQ(pixels_drawn(request.c), drawn);
}

TEST(CApi, RefusesLatentsThatAreNotFiniteOrTooFew) {
  SmallRequest request;
  std::vector<float> latents(64, 0.5f);
  request.c.latents = latents.data();
  request.c.latent_count = 63;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "63 values; this request needs 64");
  request.c.latent_count = 64;
  latents[5] = NAN;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "nan at 5");
  request.c.latents = nullptr;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "64 latents, and they are NULL");
  request.c.latent_count = 0;
  EXPECT_FALSE(pixels_drawn(request.c).empty());

  Said said;
  EXPECT_EQ(ernie_image_decode(embedded(), latents.data(), 64, 16, 16, &said.error), nullptr);
  EXPECT_EQ(said.status(), ERNIE_IMAGE_INVALID_ARGUMENT);
  Said size;
  EXPECT_EQ(ernie_image_decode(embedded(), latents.data(), 4, 16, 16, &size.error), nullptr);
  EXPECT_EQ(size.status(), ERNIE_IMAGE_INVALID_ARGUMENT);

  Steps steps;
  steps.poison = INFINITY;
  SmallRequest poisoned;
  poisoned.c.on_step = follow_step;
  poisoned.c.user_data = &steps;
  Said step;
  EXPECT_EQ(ernie_image_generate(embedded(), &poisoned.c, &step.error), nullptr);
  EXPECT_EQ(step.status(), ERNIE_IMAGE_INVALID_ARGUMENT);
  EXPECT_NE(step.message().find("inf at 3"), std::string::npos) << step.message();
}

TEST(CApi, TakesTextStatesInPlaceOfPrompts) {
  ernie_image_model_info info = {};
  info.struct_size = sizeof info;
  ASSERT_EQ(ernie_image_pipeline_info(embedded(), &info, nullptr), ERNIE_IMAGE_OK);
  const auto width = static_cast<std::size_t>(info.text_width);
  std::vector<float> values(3 * width, 0.1f);
  ernie_image_text_states states = {sizeof states, values.data(), 3, width};
  SmallRequest request;
  request.c.prompt_count = 0;
  request.c.prompt_states = &states;
  request.c.prompt_state_count = 1;
  const auto drawn = pixels_drawn(request.c);
  for (std::size_t i = 0; i < width; ++i) values[i] = 2;
  EXPECT_NE(pixels_drawn(request.c), drawn);
  values[7] = NAN;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "text states have nan at 7");
  values[7] = 0;
  states.width = 1;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "3 values of 3 tokens");
  states.tokens = SIZE_MAX;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "more than any model takes");
  states.tokens = 0;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "0 values of 0 tokens");
}

TEST(CApi, RefusesWrongSizesCountsAndNames) {
  SmallRequest size;
  size.c.height_px = 20;
  expect_refused(size.c, ERNIE_IMAGE_INVALID_ARGUMENT, "height 20 does not divide by 16");
  size.c.height_px = -1;
  expect_refused(size.c, ERNIE_IMAGE_INVALID_ARGUMENT, "the height must be");
  SmallRequest prompts;
  prompts.c.prompt_count = 0;
  expect_refused(prompts.c, ERNIE_IMAGE_INVALID_ARGUMENT, "no prompt");
  prompts.c.prompt_count = SIZE_MAX;
  expect_refused(prompts.c, ERNIE_IMAGE_INVALID_ARGUMENT, "prompts; at most");
  prompts.c.prompt_count = 2;
  prompts.prompts[1] = nullptr;
  expect_refused(prompts.c, ERNIE_IMAGE_INVALID_ARGUMENT, "number 1 of the prompts is NULL");
  SmallRequest text;
  text.prompts[0] = "\xff";
  expect_refused(text.c, ERNIE_IMAGE_INVALID_ARGUMENT, "UTF-8");
  SmallRequest scale;
  scale.c.guidance_scale = NAN;
  expect_refused(scale.c, ERNIE_IMAGE_INVALID_ARGUMENT, "guidance scale");
  SmallRequest adapter;
  ernie_image_adapter none = {sizeof none, nullptr, 1, -1};
  adapter.c.adapters = &none;
  adapter.c.adapter_count = 1;
  expect_refused(adapter.c, ERNIE_IMAGE_INVALID_ARGUMENT, "adapter 0 has no path");
  none.path = "/nowhere.safetensors";
  expect_refused(adapter.c, ERNIE_IMAGE_NOT_FOUND, "/nowhere.safetensors");

  ernie_image_load_options options = {};
  options.struct_size = sizeof options;
  options.precision = "fp64";
  Said said;
  EXPECT_EQ(ernie_image_load(&options, &said.error), nullptr);
  EXPECT_NE(said.message().find("\"fp64\" is none of fp32, bf16"), std::string::npos)
      << said.message();
}

}  // namespace
