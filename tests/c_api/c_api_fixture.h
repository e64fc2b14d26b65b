// What the tests of the C API share: small requests to the embedded model, and what came of them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "ernie_image/c.h"

namespace c_api_test {

/// What a call said, and the error that it left.
struct Said {
  ~Said() { ernie_image_error_free(error); }
  ernie_image_status status() const { return ernie_image_error_status(error); }
  std::string message() const { return ernie_image_error_message(error); }

  ernie_image_error* error = nullptr;
};

inline ernie_image_pipeline* embedded() {
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
inline void expect_refused(const ernie_image_request& request, ernie_image_status status,
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

inline std::vector<std::uint8_t> pixels_of(const ernie_image_result* result,
                                           std::size_t index = 0) {
  ernie_image_image image = {sizeof image, 0, 0, nullptr};
  if (ernie_image_result_image(result, index, &image, nullptr) != ERNIE_IMAGE_OK) return {};
  return {image.rgb, image.rgb + static_cast<std::size_t>(image.height_px) * image.width_px * 3};
}

inline std::vector<std::uint8_t> pixels_drawn(const ernie_image_request& request) {
  Said said;
  ernie_image_result* const result = ernie_image_generate(embedded(), &request, &said.error);
  EXPECT_NE(result, nullptr) << said.message();
  const std::vector<std::uint8_t> pixels = pixels_of(result);
  ernie_image_result_free(result);
  return pixels;
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

inline std::int32_t count_progress(void* user_data, const ernie_image_progress* progress) {
  ++static_cast<Steps*>(user_data)->progress_calls;
  return progress->struct_size == sizeof *progress ? 0 : 1;
}

inline std::int32_t follow_step(void* user_data, const ernie_image_step* step) {
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

}  // namespace c_api_test
