#include "pipeline/further_runs.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "io/mask.h"
#include "pipeline/replicas.h"
#include "request/request.h"

namespace ernie_image {
namespace {

constexpr int kBoxPaddingPx = 32;

/// White in the box, with an edge that is as soft as the box is large.
std::vector<std::uint8_t> box_mask(const Image& picture, const Box& box) {
  Mask mask{picture.width_px, picture.height_px, std::vector<std::uint8_t>(picture.rgb.size() / 3)};
  for (std::ptrdiff_t y = box.top_px; y < box.top_px + box.height_px; ++y) {
    const auto row = mask.values.begin() + y * picture.width_px + box.left_px;
    std::fill(row, row + box.width_px, std::uint8_t{255});
  }
  constexpr double kSoftest_px = 16;
  return blurred(mask, std::min(kSoftest_px, std::min(box.width_px, box.height_px) / 16.0)).values;
}

}  // namespace

Request first_run(const Request& request) {
  if (!request.decode || !request.prompt_states.empty() ||
      !request.negative_prompt_states.empty()) {
    throw Error(
        ErrorKind::invalid_argument,
        "a second run and boxes need decoded pictures and prompts as text; ask for one run");
  }
  Request first = request;
  first.hires_scale.reset();
  first.hires_width_px = first.hires_height_px = 0;
  first.boxes.clear();
  return first;
}

bool draws_boxes_only(const Request& request) {
  return !request.boxes.empty() && !request.picture.image.rgb.empty() &&
         request.picture.mask.empty() && !wants_hires(request);
}

Request large_request(const Request& request, int multiple_px) {
  Request large = first_run(request);
  const auto [width, height] = hires_size(request, multiple_px);
  large.width_px = width;
  large.height_px = height;
  if (request.hires_steps != 0) large.num_inference_steps = request.hires_steps;
  large.latents.clear();  // those of the first run
  large.picture = {};
  large.trace = nullptr;
  large.on_step = nullptr;
  return large;
}

Request large_run(const Request& large, const Request& request, std::span<const float> noise,
                  int image, const Image& first) {
  Request run = image_request(large, noise, image);
  run.picture.image = resized(first, large.width_px, large.height_px, Fit::crop);
  run.picture.strength = request.hires_strength.value_or(kHiresStrength);
  run.picture.strength_mode = StrengthMode::a1111;
  return run;
}

Request box_run(const Request& request, int multiple_px, int image, const Box& box,
                const Image& picture) {
  if (box.left_px + box.width_px > picture.width_px ||
      box.top_px + box.height_px > picture.height_px) {
    throw Error(ErrorKind::invalid_argument,
                "the box " + std::to_string(box.left_px) + "," + std::to_string(box.top_px) + "," +
                    std::to_string(box.width_px) + "," + std::to_string(box.height_px) +
                    " is not within the picture of " + std::to_string(picture.width_px) + "x" +
                    std::to_string(picture.height_px) + " pixels");
  }
  Request run = first_run(request);
  run.prompts = {prompt_of(request, image)};
  run.negative_prompts = {negative_prompt_of(request, image)};
  run.adapters = image_request(request, {}, image).adapters;
  run.num_images_per_prompt = 1;
  const bool is_listed = request.seeds.size() > 1;
  run.seeds = {seed_of(request, image) + static_cast<std::uint64_t>(is_listed ? 0 : image)};
  run.variation_seeds.clear();
  run.variation_strength.reset();
  run.latents.clear();
  run.trace = nullptr;
  run.on_step = nullptr;
  const double scale = std::sqrt(static_cast<double>(request.width_px) * request.height_px /
                                 (static_cast<double>(box.width_px) * box.height_px));
  const auto side = [&](int px) {
    return std::max(1, static_cast<int>(std::lround(px * scale / multiple_px))) * multiple_px;
  };
  run.width_px = std::min(side(box.width_px), kMaxSidePx / multiple_px * multiple_px);
  run.height_px = std::min(side(box.height_px), kMaxSidePx / multiple_px * multiple_px);
  run.picture.image = picture;
  run.picture.mask = box_mask(picture, box);
  run.picture.area_padding_px = kBoxPaddingPx;
  return run;
}

Result joined(Result first, const std::vector<Result>& further, std::vector<Image> images) {
  for (const Result& run : further) {
    first.timings.text_encoder_seconds += run.timings.text_encoder_seconds;
    first.timings.vae_decoder_seconds += run.timings.vae_decoder_seconds;
    std::ranges::copy(run.timings.step_seconds, std::back_inserter(first.timings.step_seconds));
    first.peak_activation_bytes = std::max(first.peak_activation_bytes, run.peak_activation_bytes);
    if (first.memory.empty()) first.memory = run.memory;
    if (first.prompt_tokens.empty()) first.prompt_tokens = run.prompt_tokens;
    if (first.adapters.empty()) first.adapters = run.adapters;
    for (const StageMemory& stage : run.memory) {
      const auto same = std::ranges::find(first.memory, stage.stage, &StageMemory::stage);
      if (same == first.memory.end()) {
        first.memory.push_back(stage);
        continue;
      }
      same->predicted_bytes = std::max(same->predicted_bytes, stage.predicted_bytes);
      same->measured_bytes = std::max(same->measured_bytes, stage.measured_bytes);
    }
  }
  first.images = std::move(images);
  return first;
}

}  // namespace ernie_image
