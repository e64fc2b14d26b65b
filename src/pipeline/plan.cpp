#include "pipeline/plan.h"

#include <cmath>

#include "sampling/strength.h"

namespace ernie_image {
namespace {

// Far beyond what any device can hold; they keep later products within 64 bits.
constexpr int kMaxSidePx = 16384;
constexpr int kMaxSteps = 1000;
constexpr std::int64_t kMaxImages = 1024;

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorKind::invalid_argument, message);
}

int checked_side(const std::string& name, int asked, int fallback, std::int64_t factor) {
  const int side = asked == 0 ? fallback : asked;
  const int multiple = static_cast<int>(factor);
  if (side < multiple || side > kMaxSidePx) {
    refuse(name + " " + std::to_string(side) + " is out of range; " + std::to_string(multiple) +
           " to " + std::to_string(kMaxSidePx) + " pixels are possible");
  }
  if (side % multiple != 0) {
    const int below = side / multiple * multiple;
    refuse(name + " " + std::to_string(side) + " does not divide by " + std::to_string(multiple) +
           "; the nearest valid sizes are " + std::to_string(below) + " and " +
           std::to_string(below + multiple));
  }
  return side;
}

void check_counts(const Request& request, const GenerationPlan& plan,
                  std::int64_t latent_channels) {
  if (plan.num_inference_steps < 1 || plan.num_inference_steps > kMaxSteps) {
    refuse("the number of steps must be 1 to " + std::to_string(kMaxSteps) + ", found " +
           std::to_string(plan.num_inference_steps));
  }
  if (!std::isfinite(plan.guidance_scale) || plan.guidance_scale < 0 || plan.guidance_scale > 100) {
    refuse("the guidance scale must be 0 to 100");
  }
  if (plan.images > kMaxImages)
    refuse(std::to_string(plan.images) + " images in one batch; at most " +
           std::to_string(kMaxImages) + " are possible");
  if (request.seeds.size() != 1 && static_cast<std::int64_t>(request.seeds.size()) != plan.images) {
    refuse(std::to_string(request.seeds.size()) + " seeds for " + std::to_string(plan.images) +
           " images; give one seed for all, or one an image");
  }
  const std::int64_t latents =
      plan.images * latent_channels * plan.latent_height * plan.latent_width;
  if (!request.latents.empty() && static_cast<std::int64_t>(request.latents.size()) != latents) {
    refuse("the given latents have " + std::to_string(request.latents.size()) +
           " values; this request needs [" + std::to_string(plan.images) + ", " +
           std::to_string(latent_channels) + ", " + std::to_string(plan.latent_height) + ", " +
           std::to_string(plan.latent_width) + "]");
  }
}

/// Sides asked for, or those of the request's picture.
void check_image(const Request& request, const GenerationPlan& plan, const Model& model) {
  const Image& image = request.image;
  const bool is_whole = image.width_px > 0 && image.height_px > 0 &&
                        image.rgb.size() == std::size_t{3} *
                                                static_cast<std::size_t>(image.width_px) *
                                                static_cast<std::size_t>(image.height_px);
  if (!is_whole) {
    refuse("the picture of " + std::to_string(image.width_px) + "x" +
           std::to_string(image.height_px) + " pixels has " + std::to_string(image.rgb.size()) +
           " bytes; 3 a pixel are needed");
  }
  if (image.width_px != plan.width_px || image.height_px != plan.height_px) {
    refuse("the picture has " + std::to_string(image.width_px) + "x" +
           std::to_string(image.height_px) + " pixels, " + std::to_string(plan.width_px) + "x" +
           std::to_string(plan.height_px) + " are asked for; scale it first");
  }
  if (!model.weights.vae.contains("encoder.conv_in.weight")) {
    refuse(model.folder.name +
           ": its VAE has no encoder, so it cannot begin with a picture; take a model folder with "
           "encoder.* in vae/");
  }
}

std::vector<std::vector<std::int32_t>> negative_ids(const Request& request,
                                                    const Tokenizer& tokenizer) {
  const auto& negatives = request.negative_prompts;
  const std::size_t prompts = request.prompts.size();
  if (negatives.size() > 1 && negatives.size() != prompts) {
    refuse(std::to_string(negatives.size()) + " negative prompts for " + std::to_string(prompts) +
           " prompts; give one for all, or one a prompt");
  }
  std::vector<std::vector<std::int32_t>> ids;
  for (std::size_t i = 0; i < prompts; ++i) {
    ids.push_back(tokenizer.encode(negatives.empty()       ? ""
                                   : negatives.size() == 1 ? negatives[0]
                                                           : negatives[i]));
  }
  return ids;
}

}  // namespace

GenerationPlan plan_generation(const Request& request, const Model& model) {
  const ModelConfigs& configs = model.configs;
  const std::int64_t factor = configs.vae.spatial_factor;
  if (request.prompts.empty()) refuse("no prompt was given");
  if (request.num_images_per_prompt < 1)
    refuse("the number of images must be at least 1, found " +
           std::to_string(request.num_images_per_prompt));

  GenerationPlan plan;
  const bool has_image = !request.image.rgb.empty();
  const int default_height = has_image ? request.image.height_px : configs.default_side_px;
  const int default_width = has_image ? request.image.width_px : configs.default_side_px;
  plan.height_px = checked_side("height", request.height_px, default_height, factor);
  plan.width_px = checked_side("width", request.width_px, default_width, factor);
  plan.latent_height = plan.height_px / factor;
  plan.latent_width = plan.width_px / factor;
  plan.images = static_cast<std::int64_t>(request.prompts.size()) * request.num_images_per_prompt;
  plan.num_inference_steps = request.num_inference_steps == 0 ? configs.default_num_inference_steps
                                                              : request.num_inference_steps;
  plan.guidance_scale = request.guidance_scale.value_or(configs.default_guidance_scale);
  plan.guided = plan.guidance_scale > 1.0;
  check_counts(request, plan, configs.transformer.in_channels);
  if (has_image) check_image(request, plan, model);
  plan.sigmas = strength_sigmas(configs.scheduler, plan.num_inference_steps,
                                has_image ? request.strength : 1.0, request.strength_mode);
  plan.uses_image = plan.sigmas.front() < flow_sigma(configs.scheduler, 0, 1);
  for (const std::string& prompt : request.prompts)
    plan.prompt_ids.push_back(model.tokenizer.encode(prompt));
  if (plan.guided) plan.negative_ids = negative_ids(request, model.tokenizer);
  return plan;
}

}  // namespace ernie_image
