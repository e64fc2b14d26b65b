// A request made definite: every default filled in, every value checked, every prompt tokenised.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/model.h"
#include "ernie_image/pipeline.h"

namespace ernie_image {

struct ResolvedRequest {
  int height_px = 0;
  int width_px = 0;
  std::int64_t latent_height = 0;
  std::int64_t latent_width = 0;
  std::int64_t images = 0;      ///< prompts x images a prompt
  int num_inference_steps = 0;  ///< asked for; fewer may run if there is a picture
  std::vector<float> sigmas;    ///< of the steps that run, and a final 0
  bool uses_picture = false;    ///< something of the request's picture is left
  bool uses_mask = false;       ///< namely what its mask keeps
  double guidance_scale = 1.0;
  bool guided = false;  ///< guidance_scale > 1: two rows an image, negatives first
  std::vector<std::vector<std::int32_t>> prompt_ids;
  std::vector<std::vector<std::int32_t>> negative_ids;  ///< one a prompt when guided, else none
};

/// Throws Error(invalid_argument) saying what to ask for instead.
ResolvedRequest resolve_request(const Request& request, const Model& model);

}  // namespace ernie_image
