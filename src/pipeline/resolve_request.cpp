#include "pipeline/resolve_request.h"

#include <algorithm>

#include "request/request.h"
#include "sampling/strength.h"

namespace ernie_image {
namespace {

constexpr int kMaxGivenTokens = 1 << 17;

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorKind::invalid_argument, message);
}

void check_latents(const Request& request, const ResolvedRequest& plan,
                   std::int64_t latent_channels) {
  const std::int64_t latents =
      plan.images * latent_channels * plan.latent_height * plan.latent_width;
  if (!request.latents.empty() && static_cast<std::int64_t>(request.latents.size()) != latents) {
    refuse("the given latents have " + std::to_string(request.latents.size()) +
           " values; this request needs [" + std::to_string(plan.images) + ", " +
           std::to_string(latent_channels) + ", " + std::to_string(plan.latent_height) + ", " +
           std::to_string(plan.latent_width) + "]");
  }
}

void check_picture(const Image& image, const ResolvedRequest& plan, const Model& model) {
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

/// Stand for the tokens of given states, which only their number is asked of.
std::vector<std::vector<std::int32_t>> ids_of_states(const std::vector<TextStates>& states,
                                                     const std::string& what, std::size_t prompts,
                                                     std::int64_t width) {
  if (states.size() != prompts) {
    refuse(std::to_string(states.size()) + " " + what + " for " + std::to_string(prompts) +
           " prompts; give one each");
  }
  std::vector<std::vector<std::int32_t>> ids;
  for (const TextStates& each : states) {
    if (each.tokens < 1 || each.tokens > kMaxGivenTokens ||
        std::ssize(each.values) != each.tokens * width) {
      refuse("one of the " + what + " has " + std::to_string(each.values.size()) + " values of " +
             std::to_string(each.tokens) + " tokens; the model needs 1 to " +
             std::to_string(kMaxGivenTokens) + " tokens of " + std::to_string(width) + " each");
    }
    ids.emplace_back(static_cast<std::size_t>(each.tokens));
  }
  return ids;
}

std::vector<std::vector<std::int32_t>> negative_ids(const Request& request,
                                                    const Tokenizer& tokenizer) {
  std::vector<std::vector<std::int32_t>> ids;
  for (std::size_t i = 0; i < request.prompts.size(); ++i) {
    const int first_image = static_cast<int>(i) * request.num_images_per_prompt;
    ids.push_back(tokenizer.encode(negative_prompt_of(request, first_image)));
  }
  return ids;
}

}  // namespace

ResolvedRequest resolve_request(const Request& asked, const Model& model) {
  check_request(asked);
  const ModelConfigs& configs = model.configs;
  const Request request = with_defaults(asked, configs.defaults);
  const std::int64_t factor = configs.vae.spatial_factor;
  check_sides(request, static_cast<int>(factor));

  ResolvedRequest plan;
  plan.height_px = request.height_px;
  plan.width_px = request.width_px;
  plan.latent_height = plan.height_px / factor;
  plan.latent_width = plan.width_px / factor;
  plan.images = image_count(request);
  plan.num_inference_steps = request.num_inference_steps;
  plan.guidance_scale = request.guidance_scale.value();
  plan.guided = plan.guidance_scale > 1.0;
  check_latents(request, plan, configs.transformer.in_channels);
  const PictureInput& picture = request.picture;
  const bool has_picture = !picture.image.rgb.empty();
  if (has_picture) check_picture(picture.image, plan, model);
  plan.sigmas = strength_sigmas(configs.scheduler, plan.num_inference_steps,
                                has_picture ? picture.strength : 1.0, picture.strength_mode);
  plan.uses_mask = std::ranges::any_of(picture.mask, [](int value) { return value != 255; });
  plan.uses_picture = plan.uses_mask || plan.sigmas.front() < flow_sigma(configs.scheduler, 0, 1);
  const std::size_t prompts = request.prompts.size();
  const std::int64_t width = configs.transformer.text_in_dim;
  if (!request.prompt_states.empty()) {
    plan.prompt_ids = ids_of_states(request.prompt_states, "prompt states", prompts, width);
  } else {
    for (const std::string& prompt : request.prompts)
      plan.prompt_ids.push_back(model.tokenizer.encode(prompt));
  }
  if (!plan.guided) return plan;
  plan.negative_ids =
      request.negative_prompt_states.empty()
          ? negative_ids(request, model.tokenizer)
          : ids_of_states(request.negative_prompt_states, "negative prompt states", prompts, width);
  return plan;
}

}  // namespace ernie_image
