#include "server/a1111_view.h"

#include "ernie_image/pipeline.h"
#include "server/api_error.h"
#include "server/base64.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr int kMaxPreviews = 8;
constexpr const char* kSampler = "Euler simple";

void refuse_what_cannot_be_done(const JsonReader& fields) {
  if (!fields.text("script_name", "").empty()) {
    refuse_field("script_name", "is not supported");
  }
}

/// Of img2img. What it can be asked for besides must be what it does anyway.
GivenPicture a1111_picture(const JsonReader& fields, std::shared_ptr<MemoryBudget::Share> memory) {
  const json* const images = fields.find("init_images");
  if (images == nullptr || !images->is_array() || images->size() != 1)
    refuse_field("init_images", "must be a list of one picture in base64");
  Upload upload{picture_bytes(images->front(), "init_images"), {}, std::move(memory)};
  if (const json* mask = fields.find("mask")) upload.mask = picture_bytes(*mask, "mask");
  GivenPicture given = decoded_upload(upload, "init_images");
  constexpr double kStrength = 0.75, kMaskBlurPx = 4;  // of that API
  given.strength =
      fields.has("denoising_strength") ? fields.number("denoising_strength", 0, 1) : kStrength;
  if (given.strength == 0) refuse_field("denoising_strength", "must be above 0");
  given.strength_mode = StrengthMode::a1111;
  constexpr Fit kFits[] = {Fit::stretch, Fit::crop, Fit::pad};
  given.handling.fit = kFits[fields.integer("resize_mode", 0, 0, 2)];
  if (!given.mask) return given;
  constexpr Fill kFills[] = {Fill::edge, Fill::original, Fill::noise};
  constexpr int kNothing = 3;
  const auto wanted = fields.integer("inpainting_fill", 0, 0, kNothing);
  if (wanted == kNothing && given.strength < 1)
    refuse_field("inpainting_fill", "may be 3 (latent nothing) at a denoising_strength of 1 only");
  if (wanted != kNothing) given.handling.fill = kFills[wanted];
  if (fields.boolean("inpaint_full_res", true)) {
    given.handling.area_padding_px =
        static_cast<int>(fields.integer("inpaint_full_res_padding", 0, 0, kMaxAreaPaddingPx));
  }
  given.handling.mask_blur_px =
      fields.has("mask_blur") ? fields.number("mask_blur", 0, kMaxUploadBlurPx) : kMaskBlurPx;
  given.handling.invert_mask = fields.integer("inpainting_mask_invert", 0, 0, 1) == 1;
  prepare(given);
  return given;
}

int read_count(const JsonReader& fields, const RequestLimits& limits) {
  const auto batch = fields.integer("batch_size", 1, 1, limits.max_images);
  const auto rounds = fields.integer("n_iter", 1, 1, limits.max_images);
  if (batch * rounds > limits.max_images) {
    refuse_field("n_iter", "times batch_size must be at most " + std::to_string(limits.max_images));
  }
  return static_cast<int>(batch * rounds);
}

double number_or(const JsonReader& fields, const char* name, double min, double max,
                 double fallback) {
  return fields.has(name) ? fields.number(name, min, max) : fallback;
}

/// The "hires. fix" of txt2img; its clients send the rest of its fields in any case, as 0.
void take_second_run(const JsonReader& fields, json& common) {
  if (!fields.boolean("enable_hr", false)) return;
  const std::int64_t width = fields.integer("hr_resize_x", 0, 0, kMaxSidePx);
  const std::int64_t height = fields.integer("hr_resize_y", 0, 0, kMaxSidePx);
  constexpr double kScale = 2, kStrength = 0.75;  // of that API
  if (width > 0 && height > 0) {
    common["hires_width"] = width;
    common["hires_height"] = height;
  } else {
    common["hires_scale"] = number_or(fields, "hr_scale", 1, kMaxHiresScale, kScale);
  }
  common["hires_strength"] = number_or(fields, "denoising_strength", 0, 1, kStrength);
  const std::int64_t steps = fields.integer("hr_second_pass_steps", 0, 0, kMaxInferenceSteps);
  if (steps > 0) common["hires_steps"] = steps;
}

/// All pictures then have the one seed, and seeds of variations of their own.
void take_variation(const JsonReader& fields, json& common) {
  const double strength = number_or(fields, "subseed_strength", 0, 1, 0);
  if (strength == 0) return;
  common["variation_strength"] = strength;
  common["variation_seed"] = fields.has("subseed") ? *fields.find("subseed") : json(-1);
}

/// The fields under the names that the other APIs have for them. What the web UI's clients send
/// besides has no meaning for this model.
json common_fields(const JsonReader& fields, const std::string& model) {
  json common = json::object();
  const auto take = [&](const char* name) {
    if (fields.has(name)) common[name] = *fields.find(name);
  };
  for (const char* name :
       {"prompt", "negative_prompt", "seed", "use_pe", "loras", "variation_seed", "boxes"})
    take(name);
  for (const RequestOption& option : request_options()) take(option.name(Naming::a1111));
  take_second_run(fields, common);
  take_variation(fields, common);
  common["model"] = model;
  const json settings = fields.value().value("override_settings", json::object());
  if (settings.is_object() && settings.contains("sd_model_checkpoint")) {
    common["model"] = settings["sd_model_checkpoint"];
  }
  return common;
}

std::string number_text(double value) { return json(value).dump(); }

/// 7 rather than 7.0
std::string short_number(double value) {
  const std::string text = number_text(value);
  return text.ends_with(".0") ? text.substr(0, text.size() - 2) : text;
}

json state_view(const Job* job) {
  const bool is_running = job != nullptr && job->state == JobState::running;
  const bool is_sampling = is_running && job->progress.stage == "transformer";
  return {{"skipped", false},
          {"interrupted", job != nullptr && job->cancel_requested},
          {"job", job == nullptr ? "" : job->id},
          {"job_count", job == nullptr ? 0 : 1},
          {"job_timestamp", job == nullptr ? "0" : std::to_string(job->created_ms)},
          {"job_no", 0},
          {"sampling_step", is_sampling ? job->progress.step : 0},
          {"sampling_steps", job == nullptr ? 0 : job->request.num_inference_steps}};
}

}  // namespace

JobRequest a1111_request(const JsonReader& fields, const std::string& model,
                         const std::vector<WorkerInfo>& workers, const RequestLimits& limits,
                         std::shared_ptr<MemoryBudget::Share> upload_memory) {
  refuse_what_cannot_be_done(fields);
  if (!upload_memory && fields.has("init_images"))
    refuse_field("init_images", "are for /sdapi/v1/img2img");
  std::optional<GivenPicture> given;
  if (upload_memory) given = a1111_picture(fields, std::move(upload_memory));
  JobRequest request =
      picture_request({common_fields(fields, model), fields.where()}, workers, limits,
                      Naming::a1111, read_count(fields, limits), given ? &*given : nullptr);
  request.previews = std::min(kMaxPreviews, request.num_inference_steps);
  if (fields.has("subseed_strength") && !request.variation_seeds.empty())
    std::ranges::fill(request.seeds, request.seeds.front());
  return request;
}

json a1111_parameters(const JsonReader& fields) {
  json parameters = fields.value();
  if (!fields.boolean("include_init_images", false)) {
    parameters.erase("init_images");
    parameters.erase("mask");
  }
  return parameters;
}

std::string a1111_infotext(const JobRequest& request, std::size_t index) {
  const std::string negative = negative_prompt_of(request);
  std::string text = prompt_of(request);
  for (const Adapter& lora : request.adapters)
    text += " <lora:" + lora.path + ":" + short_number(lora.strength) + ">";
  if (!negative.empty()) text += "\nNegative prompt: " + negative;
  text += "\nSteps: " + std::to_string(request.num_inference_steps);
  text += std::string(", Sampler: ") + kSampler;
  text += ", CFG scale: " + short_number(request.guidance_scale.value());
  text += ", Seed: " + std::to_string(request.seeds[index]);
  text += ", Size: " + std::to_string(request.width_px) + "x" + std::to_string(request.height_px);
  if (!request.variation_seeds.empty()) {
    text += ", Variation seed: " + std::to_string(request.variation_seeds[index]);
    text += ", Variation seed strength: " + short_number(request.variation_strength.value());
  }
  if (wants_hires(request)) {
    text +=
        ", Denoising strength: " + short_number(request.hires_strength.value_or(kHiresStrength));
    if (request.hires_scale)
      text += ", Hires upscale: " + short_number(*request.hires_scale);
    else
      text += ", Hires resize: " + std::to_string(request.hires_width_px) + "x" +
              std::to_string(request.hires_height_px);
  }
  if (!request.picture_use.sha256.empty())
    text += ", Denoising strength: " + short_number(request.picture.strength);
  if (request.picture_use.handling.mask_blur_px > 0)
    text += ", Mask blur: " + short_number(request.picture_use.handling.mask_blur_px);
  text += ", Model: " + request.model;
  text += std::string(", Version: ernie-image ") + version();
  return text;
}

std::string a1111_info(const Job& job) {
  const JobRequest& request = job.request;
  const std::size_t images = request.seeds.size();
  json texts = json::array();
  for (std::size_t i = 0; i < images; ++i) texts.push_back(a1111_infotext(request, i));
  const std::string negative = negative_prompt_of(request);
  json info = options_json(request, Naming::a1111);
  info.update({{"prompt", prompt_of(request)},
               {"all_prompts", std::vector(images, prompt_of(request))},
               {"negative_prompt", negative},
               {"all_negative_prompts", std::vector(images, negative)},
               {"seed", request.seeds.front()},
               {"all_seeds", request.seeds},
               {"subseed", -1},
               {"subseed_strength", 0},
               {"sampler_name", "Euler"},
               {"batch_size", images},
               {"sd_model_name", request.model},
               {"job_timestamp", std::to_string(job.created_ms)},
               {"infotexts", texts},
               {"version", std::string("ernie-image ") + version()}});
  if (!request.picture_use.sha256.empty()) info["denoising_strength"] = request.picture.strength;
  return info.dump(-1, ' ', false, json::error_handler_t::replace);
}

json a1111_progress(const Job* job, const Bytes& preview) {
  const bool is_running = job != nullptr && job->state == JobState::running;
  const double seconds_left = is_running ? job->progress.seconds_left.value_or(0) : 0;
  return {{"progress", is_running ? job->progress.fraction : 0.0},
          {"eta_relative", seconds_left},
          {"state", state_view(job)},
          {"current_image", preview.empty() ? json() : json(base64(preview))},
          {"textinfo", is_running ? json(job->progress.stage) : json()}};
}

}  // namespace ernie_image
