// What a program may rely on that uses libernie_image_c.so, and knows nothing but its header.
#include "ernie_image/c.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

/// What a call said, and the error that it left.
struct Said {
  ~Said() { ernie_image_error_free(error); }
  ernie_image_status status() const { return ernie_image_error_status(error); }
  std::string message() const { return ernie_image_error_message(error); }

  ernie_image_error* error = nullptr;
};

ernie_image_pipeline* embedded() {
  static ernie_image_pipeline* const pipeline = [] {
    ernie_image_load_options options = {};
    options.struct_size = sizeof options;
    options.model = "embedded:emoji-tiny";
    options.num_threads = 2;
    return ernie_image_load(&options, nullptr);
  }();
  return pipeline;
}

/// One small picture in one step, which is quickly done.
struct SmallRequest {
  SmallRequest() {
    c.struct_size = sizeof c;
    c.prompts = prompts;
    c.prompt_count = 1;
    c.height_px = c.width_px = 16;
    c.num_inference_steps = 1;
  }
  const char* prompts[2] = {"a red apple", "a panda"};
  ernie_image_request c = {};
};

/// The status and message that a request is refused with.
void expect_refused(const ernie_image_request& request, ernie_image_status status,
                    const std::string& part) {
  Said generate, check;
  ernie_image_result* const result = ernie_image_generate(embedded(), &request, &generate.error);
  EXPECT_EQ(result, nullptr);
  ernie_image_result_free(result);
  EXPECT_EQ(generate.status(), status) << generate.message();
  EXPECT_NE(generate.message().find(part), std::string::npos) << generate.message();
  EXPECT_EQ(ernie_image_check(embedded(), &request, &check.error), status);
  EXPECT_EQ(check.message(), generate.message());
}

std::vector<std::uint8_t> pixels_of(const ernie_image_result* result, std::size_t index = 0) {
  ernie_image_image image = {sizeof image, 0, 0, nullptr};
  if (ernie_image_result_image(result, index, &image, nullptr) != ERNIE_IMAGE_OK) return {};
  return {image.rgb, image.rgb + static_cast<std::size_t>(image.height_px) * image.width_px * 3};
}

std::vector<std::uint8_t> pixels_drawn(const ernie_image_request& request) {
  Said said;
  ernie_image_result* const result = ernie_image_generate(embedded(), &request, &said.error);
  EXPECT_NE(result, nullptr) << said.message();
  const std::vector<std::uint8_t> pixels = pixels_of(result);
  ernie_image_result_free(result);
  return pixels;
}

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

struct Steps {
  std::vector<std::vector<float>> latents;
  std::vector<std::uint8_t> preview;
  std::vector<float> replacement;
  int stop_after = -1;
  int steps_in_all = 0;
  float poison = 0;
  int progress_calls = 0;
};

std::int32_t count_progress(void* user_data, const ernie_image_progress* progress) {
  ++static_cast<Steps*>(user_data)->progress_calls;
  return progress->struct_size == sizeof *progress ? 0 : 1;
}

std::int32_t follow_step(void* user_data, const ernie_image_step* step) {
  Steps& steps = *static_cast<Steps*>(user_data);
  steps.latents.emplace_back(step->latents, step->latents + step->latent_count);
  steps.steps_in_all = step->steps;
  if (step->preview_rgb != nullptr) {
    steps.preview.assign(step->preview_rgb,
                         step->preview_rgb + static_cast<std::size_t>(step->preview_height_px) *
                                                 step->preview_width_px * 3);
  }
  if (!steps.replacement.empty())
    std::copy(steps.replacement.begin(), steps.replacement.end(), step->latents);
  if (steps.poison != 0) step->latents[3] = steps.poison;
  return step->step == steps.stop_after ? 1 : 0;
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

/// A picture of one grey.
struct GreyPicture {
  static constexpr std::uint8_t kGrey = 90;

  GreyPicture(int height, int width)
      : rgb(static_cast<std::size_t>(3 * height * width), kGrey),
        c{sizeof c, height, width, rgb.data()} {}

  std::vector<std::uint8_t> rgb;
  ernie_image_image c;
};

TEST(CApi, BeginsWithAPictureAsMuchAsItsStrengthSays) {
  SmallRequest request;
  request.c.num_inference_steps = 4;
  const auto plain = pixels_drawn(request.c);
  const GreyPicture picture(16, 16);
  request.c.image = &picture.c;
  const auto drawn = pixels_drawn(request.c);
  request.c.strength = 0.6;
  EXPECT_EQ(pixels_drawn(request.c), drawn);
  request.c.strength_mode = "exact";
  EXPECT_NE(pixels_drawn(request.c), drawn);
  request.c.strength_mode = nullptr;
  request.c.latents_only = 1;
  Steps steps;
  request.c.on_step = follow_step;
  request.c.user_data = &steps;
  ernie_image_result* const latents = ernie_image_generate(embedded(), &request.c, nullptr);
  EXPECT_EQ(steps.latents.size(), 3u);  // of four
  EXPECT_EQ(steps.steps_in_all, 3);
  ASSERT_NE(ernie_image_result_latents(latents, nullptr), nullptr);
  EXPECT_EQ(*ernie_image_result_latents(latents, nullptr), steps.latents.back().front());
  ernie_image_result_free(latents);
  request.c.latents_only = 0;
  request.c.on_step = nullptr;
  request.c.strength = 1;
  EXPECT_EQ(pixels_drawn(request.c), plain);
  EXPECT_NE(plain, drawn);
  request.c.strength_mode = "loud";
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "\"loud\" is none of diffusers");
  request.c.strength_mode = nullptr;
  for (const double strength : {-0.1, 1.5, std::nan("")}) {
    request.c.strength = strength;
    expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "above 0 and at most 1");
  }
  request.c.strength = 0;
  request.c.width_px = 32;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "the picture has 16x16 pixels, 32x16");
  ernie_image_image none = {sizeof none, 16, 16, nullptr};
  request.c.image = &none;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "the image has no pixels");
}

TEST(CApi, KeepsWhatTheMaskDoesNotShow) {
  const GreyPicture picture(16, 16);
  std::vector<std::uint8_t> mask(16 * 16);  // the lower half is drawn
  std::fill(mask.begin() + 8 * 16, mask.end(), std::uint8_t{255});
  SmallRequest request;
  request.c.image = &picture.c;
  request.c.strength = 1;
  request.c.mask = mask.data();
  request.c.mask_count = mask.size();
  const std::vector<std::uint8_t> kept(8 * 16 * 3, GreyPicture::kGrey);
  const auto upper = [&](const std::vector<std::uint8_t>& pixels) {
    return std::vector(pixels.begin(), pixels.begin() + std::ssize(kept));
  };
  const auto drawn = pixels_drawn(request.c);
  EXPECT_EQ(upper(drawn), kept);
  EXPECT_NE(drawn, picture.rgb);
  request.c.drawn_as_it_is = 1;
  EXPECT_NE(upper(pixels_drawn(request.c)), kept);
  request.c.drawn_as_it_is = 0;

  request.c.mask_count = 9;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "the mask has 9 bytes");
  request.c.mask_count = mask.size();
  request.c.mask = nullptr;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "256 bytes of a mask, and they are NULL");
  request.c.mask = mask.data();
  request.c.image = nullptr;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "no image that it is of");
}

TEST(CApi, DrawsTheMaskedPartOfAPictureOfAnySize) {
  const GreyPicture picture(21, 40);
  std::vector<std::uint8_t> mask(21 * 40);
  mask[10 * 40 + 20] = 255;
  SmallRequest request;
  request.c.image = &picture.c;
  request.c.strength = 1;
  request.c.mask = mask.data();
  request.c.mask_count = mask.size();
  request.c.masked_area_only = 1;
  request.c.mask_padding_px = 4;
  auto drawn = pixels_drawn(request.c);
  ASSERT_EQ(drawn.size(), picture.rgb.size());
  EXPECT_NE(drawn, picture.rgb);
  std::fill_n(drawn.begin() + (10 * 40 + 20) * 3, 3, GreyPicture::kGrey);
  EXPECT_EQ(drawn, picture.rgb);
  request.c.mask_padding_px = -1;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "the mask's padding must be 0 to");
}

TEST(CApi, DrawsLargerAndInParts) {
  SmallRequest request;
  request.c.hires_scale = 2;
  EXPECT_EQ(pixels_drawn(request.c).size(), 32u * 32 * 3);
  request.c.hires_scale = 0;
  request.c.hires_height_px = 32;
  request.c.hires_width_px = 48;
  request.c.hires_strength = 1;
  request.c.hires_steps = 2;
  Steps steps;  // of the first run, whose latents are no larger pictures' to learn from
  request.c.on_step = follow_step;
  request.c.user_data = &steps;
  request.c.with_previews = 1;
  EXPECT_EQ(pixels_drawn(request.c).size(), 32u * 48 * 3);
  EXPECT_EQ(steps.latents.size(), 1u);
  request.c.hires_strength = 2;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "strength of the second run");

  SmallRequest parts;
  parts.c.num_inference_steps = 4;
  parts.c.strength = 0.3;
  const auto whole = pixels_drawn(parts.c);
  const std::int32_t boxes[] = {0, 8, 16, 8};
  parts.c.boxes = boxes;
  parts.c.box_count = 1;
  const auto drawn = pixels_drawn(parts.c);
  ASSERT_EQ(drawn.size(), whole.size());
  EXPECT_TRUE(std::equal(whole.begin(), whole.begin() + 7 * 16 * 3, drawn.begin()));
  EXPECT_NE(drawn, whole);
  const std::int32_t outside[] = {8, 8, 16, 8};
  parts.c.boxes = outside;
  expect_refused(parts.c, ERNIE_IMAGE_INVALID_ARGUMENT, "the box 8,8,16,8 is not within");
  parts.c.box_count = 17;
  expect_refused(parts.c, ERNIE_IMAGE_INVALID_ARGUMENT, "17 boxes; at most 16");
  parts.c.boxes = nullptr;
  parts.c.box_count = 2;
  expect_refused(parts.c, ERNIE_IMAGE_INVALID_ARGUMENT, "8 sides of boxes, and they are NULL");
}

TEST(CApi, VariesThePictureOfASeed) {
  SmallRequest request;
  const std::uint64_t seed = 7, other = 9;
  request.c.seeds = &other;
  request.c.seed_count = 1;
  const auto of_other = pixels_drawn(request.c);
  request.c.seeds = &seed;
  const auto plain = pixels_drawn(request.c);
  request.c.variation_seeds = &other;
  request.c.variation_seed_count = 1;
  EXPECT_EQ(pixels_drawn(request.c), plain);
  request.c.variation_strength = 1;
  EXPECT_EQ(pixels_drawn(request.c), of_other);
  request.c.variation_strength = 0.4;
  const auto between = pixels_drawn(request.c);
  EXPECT_NE(between, plain);
  EXPECT_NE(between, of_other);
  request.c.variation_seed_count = 0;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "needs a seed of its own");
}

TEST(CApi, KnowsStructsOfOlderAndNewerCallers) {
  SmallRequest request;
  const auto drawn = pixels_drawn(request.c);
  // An older caller has no latents, adapters or callbacks, and other things behind its struct.
  ernie_image_request old = request.c;
  old.struct_size = offsetof(ernie_image_request, latents);
  old.latent_count = 7;
  EXPECT_EQ(pixels_drawn(old), drawn);

  struct {
    ernie_image_request known;
    std::uint64_t further;
  } newer = {request.c, 0};
  newer.known.struct_size = sizeof newer;
  EXPECT_EQ(pixels_drawn(newer.known), drawn);
  newer.further = 1;
  expect_refused(newer.known, ERNIE_IMAGE_UNSUPPORTED, "does not know");
  old.struct_size = offsetof(ernie_image_request, latents) + 4;  // in the midst of a pointer
  expect_refused(old, ERNIE_IMAGE_INVALID_ARGUMENT, "set it to sizeof");
  old.struct_size = 0;
  expect_refused(old, ERNIE_IMAGE_INVALID_ARGUMENT, "struct_size of the request is 0");

  ernie_image_model_info info = {};
  info.struct_size = offsetof(ernie_image_model_info, content_hash);
  info.default_height_px = -7;
  ASSERT_EQ(ernie_image_pipeline_info(embedded(), &info, nullptr), ERNIE_IMAGE_OK);
  EXPECT_NE(info.name, nullptr);
  EXPECT_EQ(info.default_height_px, -7);
}

TEST(CApi, HandlesThatWereFreedAreRefused) {
  ernie_image_load_options options = {};
  options.struct_size = sizeof options;
  options.model = "embedded:emoji-tiny";
  options.num_threads = 1;
  ernie_image_pipeline* const pipeline = ernie_image_load(&options, nullptr);
  ASSERT_NE(pipeline, nullptr);
  ernie_image_pipeline_free(pipeline);
  ernie_image_pipeline_free(pipeline);
  ernie_image_pipeline_free(nullptr);
  SmallRequest request;
  Said said;
  EXPECT_EQ(ernie_image_generate(pipeline, &request.c, &said.error), nullptr);
  EXPECT_EQ(said.status(), ERNIE_IMAGE_INVALID_ARGUMENT);
  EXPECT_NE(said.message().find("the pipeline was freed"), std::string::npos) << said.message();
  EXPECT_EQ(ernie_image_cancel(pipeline, nullptr), ERNIE_IMAGE_INVALID_ARGUMENT);
  EXPECT_EQ(ernie_image_result_count(nullptr), 0u);

  ernie_image_result* const result = ernie_image_generate(embedded(), &request.c, nullptr);
  ernie_image_result_free(result);
  EXPECT_EQ(ernie_image_result_count(result), 0u);
  EXPECT_STREQ(ernie_image_result_json(result), "{}");
  // That of a pipeline is no result.
  Said other;
  ernie_image_image image = {sizeof image, 0, 0, nullptr};
  EXPECT_EQ(ernie_image_result_image(reinterpret_cast<ernie_image_result*>(embedded()), 0, &image,
                                     &other.error),
            ERNIE_IMAGE_INVALID_ARGUMENT);
  EXPECT_NE(other.message().find("something else"), std::string::npos) << other.message();
}

TEST(CApi, NullIsRefusedWhereSomethingIsNeeded) {
  const auto refused = [](ernie_image_status status) {
    EXPECT_EQ(status, ERNIE_IMAGE_INVALID_ARGUMENT);
  };
  SmallRequest request;
  EXPECT_EQ(ernie_image_generate(nullptr, &request.c, nullptr), nullptr);
  EXPECT_EQ(ernie_image_generate(embedded(), nullptr, nullptr), nullptr);
  refused(ernie_image_check(embedded(), nullptr, nullptr));
  refused(ernie_image_pipeline_info(embedded(), nullptr, nullptr));
  EXPECT_EQ(ernie_image_enhance(embedded(), nullptr, 0, 0, nullptr, nullptr), nullptr);
  EXPECT_EQ(ernie_image_decode(embedded(), nullptr, 64, 16, 16, nullptr), nullptr);
  refused(ernie_image_result_save(nullptr, 0, "x.png", nullptr));
  EXPECT_EQ(ernie_image_read_image(nullptr, nullptr), nullptr);
  EXPECT_EQ(ernie_image_read_text(nullptr, "a", nullptr), nullptr);
  refused(ernie_image_compare(nullptr, nullptr, nullptr, nullptr));
  refused(ernie_image_quantize(nullptr, nullptr));
  EXPECT_EQ(ernie_image_tokenizer_encode(nullptr, "a", nullptr, 0, nullptr), -1);
  EXPECT_STREQ(ernie_image_text_get(nullptr), "");
  EXPECT_STREQ(ernie_image_error_message(nullptr), "");
  EXPECT_STREQ(ernie_image_status_name(-3), "unknown");
}

/// Lets a run wait in its first callback until the test has done what it wants meanwhile.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool is_reached = false, is_open = false;

  static std::int32_t wait(void* user_data, const ernie_image_progress*) {
    auto& gate = *static_cast<Gate*>(user_data);
    std::unique_lock lock(gate.mutex);
    gate.is_reached = true;
    gate.changed.notify_all();
    gate.changed.wait(lock, [&] { return gate.is_open; });
    return 0;
  }
  void await() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return is_reached; });
  }
  void open() {
    const std::lock_guard lock(mutex);
    is_open = true;
    changed.notify_all();
  }
};

TEST(CApi, APipelineAtWorkRefusesASecondCallAndCanBeCancelled) {
  Gate gate;
  SmallRequest request;
  request.c.on_progress = Gate::wait;
  request.c.user_data = &gate;
  ernie_image_status first = ERNIE_IMAGE_OK;
  std::thread other([&] {
    Said said;
    ernie_image_result_free(ernie_image_generate(embedded(), &request.c, &said.error));
    first = said.status();
  });
  gate.await();
  SmallRequest second;
  Said busy;
  EXPECT_EQ(ernie_image_generate(embedded(), &second.c, &busy.error), nullptr);
  EXPECT_EQ(busy.status(), ERNIE_IMAGE_BUSY) << busy.message();
  EXPECT_EQ(ernie_image_cancel(embedded(), nullptr), ERNIE_IMAGE_OK);
  gate.open();
  other.join();
  EXPECT_EQ(first, ERNIE_IMAGE_CANCELLED);
  EXPECT_FALSE(pixels_drawn(second.c).empty());
}

TEST(CApi, FreeingAPipelineAtWorkEndsTheWork) {
  ernie_image_load_options options = {};
  options.struct_size = sizeof options;
  options.model = "embedded:emoji-tiny";
  options.num_threads = 1;
  ernie_image_pipeline* const pipeline = ernie_image_load(&options, nullptr);
  Gate gate;
  SmallRequest request;
  request.c.on_progress = Gate::wait;
  request.c.user_data = &gate;
  ernie_image_status status = ERNIE_IMAGE_OK;
  std::thread other([&] {
    Said said;
    ernie_image_result_free(ernie_image_generate(pipeline, &request.c, &said.error));
    status = said.status();
  });
  gate.await();
  ernie_image_pipeline_free(pipeline);
  gate.open();
  other.join();
  EXPECT_EQ(status, ERNIE_IMAGE_CANCELLED);
}

TEST(CApi, AForkedChildIsToldAndLivesOn) {
  embedded();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    SmallRequest request;
    ernie_image_error* error = nullptr;
    ernie_image_result* const result = ernie_image_generate(embedded(), &request.c, &error);
    const bool told = result == nullptr &&
                      ernie_image_error_status(error) == ERNIE_IMAGE_UNSUPPORTED &&
                      std::strstr(ernie_image_error_message(error), "forked") != nullptr;
    ernie_image_pipeline_free(embedded());
    _exit(told ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

std::int32_t stop_at_once(void*, const char*) { return 1; }

std::int32_t append_text(void* user_data, const char* piece) {
  static_cast<std::string*>(user_data)->append(piece);
  return 0;
}

TEST(CApi, EnhancesAPromptPieceByPiece) {
  std::string told;
  ernie_image_enhance_options options = {};
  options.struct_size = sizeof options;
  options.temperature = -1;  // greedy
  options.max_tokens = 8;
  options.on_text = append_text;
  options.user_data = &told;
  ernie_image_text* const text =
      ernie_image_enhance(embedded(), "a cat", 64, 64, &options, nullptr);
  ASSERT_NE(text, nullptr);
  EXPECT_FALSE(told.empty());
  EXPECT_NE(told.find(ernie_image_text_get(text)), std::string::npos);
  ernie_image_text_free(text);
  options.on_text = stop_at_once;
  Said said;
  EXPECT_EQ(ernie_image_enhance(embedded(), "a cat", 0, 0, &options, &said.error), nullptr);
  EXPECT_EQ(said.status(), ERNIE_IMAGE_CANCELLED);
  options.top_p = 2;
  Said refused;
  EXPECT_EQ(ernie_image_enhance(embedded(), "a cat", 0, 0, &options, &refused.error), nullptr);
  EXPECT_NE(refused.message().find("top_p"), std::string::npos);
}

TEST(CApi, TokenizesThereAndBack) {
  ernie_image_tokenizer* const tokenizer =
      ernie_image_tokenizer_open("embedded:emoji-tiny", nullptr);
  ASSERT_NE(tokenizer, nullptr);
  std::vector<std::int32_t> ids(2);
  const std::int64_t count =
      ernie_image_tokenizer_encode(tokenizer, "a red apple", ids.data(), ids.size(), nullptr);
  ASSERT_GT(count, 2);
  ids.resize(static_cast<std::size_t>(count));
  EXPECT_EQ(ernie_image_tokenizer_encode(tokenizer, "a red apple", ids.data(), ids.size(), nullptr),
            count);
  ernie_image_text* const text =
      ernie_image_tokenizer_decode(tokenizer, ids.data(), ids.size(), nullptr);
  EXPECT_STREQ(ernie_image_text_get(text), "a red apple");
  ernie_image_text_free(text);
  ernie_image_tokenizer_free(tokenizer);
}

TEST(CApi, SavesReadsAndComparesPictures) {
  const auto folder = std::filesystem::temp_directory_path() / ("c_api" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  const std::string path = folder / "a.png";
  SmallRequest request;
  ernie_image_result* const drawn = ernie_image_generate(embedded(), &request.c, nullptr);
  ASSERT_EQ(ernie_image_result_save(drawn, 0, path.c_str(), nullptr), ERNIE_IMAGE_OK);
  ernie_image_result* const read = ernie_image_read_image(path.c_str(), nullptr);
  EXPECT_EQ(pixels_of(read), pixels_of(drawn));
  Said none;
  EXPECT_EQ(ernie_image_read_text(path.c_str(), "ernie_image", &none.error), nullptr);
  EXPECT_EQ(none.status(), ERNIE_IMAGE_NOT_FOUND);

  ernie_image_image a = {sizeof a, 0, 0, nullptr};
  ASSERT_EQ(ernie_image_result_image(drawn, 0, &a, nullptr), ERNIE_IMAGE_OK);
  std::vector<std::uint8_t> changed(a.rgb, a.rgb + 16 * 16 * 3);
  changed[0] = static_cast<std::uint8_t>(changed[0] ^ 0x80);
  const ernie_image_image b = {sizeof b, 16, 16, changed.data()};
  ernie_image_metrics metrics = {};
  metrics.struct_size = sizeof metrics;
  ASSERT_EQ(ernie_image_compare(&a, &b, &metrics, nullptr), ERNIE_IMAGE_OK);
  EXPECT_EQ(metrics.max_absolute_difference, 128);
  EXPECT_LT(metrics.ssim, 1);
  ASSERT_EQ(ernie_image_compare(&a, &a, &metrics, nullptr), ERNIE_IMAGE_OK);
  EXPECT_TRUE(std::isinf(metrics.psnr_db));
  const ernie_image_image smaller = {sizeof smaller, 8, 16, changed.data()};
  EXPECT_EQ(ernie_image_compare(&a, &smaller, &metrics, nullptr), ERNIE_IMAGE_INVALID_ARGUMENT);
  ernie_image_result_free(read);
  ernie_image_result_free(drawn);
  std::filesystem::remove_all(folder);
}

std::int32_t stop_bytes(void*, std::uint64_t, std::uint64_t) { return 1; }

TEST(CApi, QuantizesAModelFolder) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("c_api_q" + std::to_string(getpid()));
  const std::string output = folder.string();
  ernie_image_quantize_options options = {};
  options.struct_size = sizeof options;
  options.model = ERNIE_IMAGE_TEST_DATA "/reference/models/tiny_a";
  options.output = output.c_str();
  options.on_progress = stop_bytes;
  EXPECT_EQ(ernie_image_quantize(&options, nullptr), ERNIE_IMAGE_CANCELLED);
  options.on_progress = nullptr;
  Said said;
  EXPECT_EQ(ernie_image_quantize(&options, &said.error), ERNIE_IMAGE_OK) << said.message();
  EXPECT_TRUE(std::filesystem::exists(folder / "model_index.json"));
  options.quantization = "int9";
  EXPECT_EQ(ernie_image_quantize(&options, nullptr), ERNIE_IMAGE_INVALID_ARGUMENT);
  std::filesystem::remove_all(folder);
}

}  // namespace
