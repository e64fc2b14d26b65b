#include "server/a1111_view.h"

#include <algorithm>
#include <initializer_list>

#include "common/image_record.h"
#include "common/infotext.h"
#include "core/ascii.h"
#include "ernie_image/pipeline.h"
#include "server/api_error.h"
#include "server/base64.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr int kMaxPreviews = 8;

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

constexpr const char* kNumbers[] = {"width",
                                    "height",
                                    "steps",
                                    "cfg_scale",
                                    "seed",
                                    "subseed",
                                    "batch_size",
                                    "n_iter",
                                    "subseed_strength",
                                    "resize_mode",
                                    "mask_blur",
                                    "denoising_strength",
                                    "hr_scale",
                                    "hr_resize_x",
                                    "hr_resize_y",
                                    "hr_second_pass_steps",
                                    "inpainting_fill",
                                    "inpainting_mask_invert",
                                    "inpaint_full_res_padding"};
constexpr const char* kBooleans[] = {"enable_hr",        "send_images",         "save_images",
                                     "inpaint_full_res", "include_init_images", "use_pe"};

/// What cannot be read stays, and is refused by whoever wants it.
json number_of_word(const json& value) {
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  if (!value.is_string()) return value;
  const auto& text = value.get_ref<const std::string&>();
  const json number = json::parse(text, nullptr, false);
  return number.is_number() ? number : value;
}

/// Its clients offer sizes like 600x600: the nearest that the model draws is taken.
void round_sizes(json& common, int multiple_px) {
  for (const char* name : {"width", "height"}) {
    const auto side = common.contains(name) ? whole_number(common[name]) : std::nullopt;
    if (!side || *side < 1 || *side > kMaxSidePx) continue;
    const std::int64_t multiple = std::max(1, multiple_px);
    common[name] = std::max<std::int64_t>(1, (*side + multiple / 2) / multiple) * multiple;
  }
}

/// As the worker writes it into the file.
std::string infotext(const Job& job, std::size_t index) {
  ImageRecord record;
  record.version = version();
  record.model_name = job.request.model;
  record.request = job.request;
  record.request.prompts = {job.enhanced_prompt.empty() ? prompt_of(job.request)
                                                        : job.enhanced_prompt};
  record.request.num_images_per_prompt = 1;
  record.request.seeds = {job.request.seeds[index]};
  if (!job.request.variation_seeds.empty())
    record.request.variation_seeds = {job.request.variation_seeds[index]};
  record.picture = job.request.picture_use;
  for (const Adapter& lora : job.request.adapters) {
    AdapterUse& use = record.adapters.emplace_back();
    use.name = lora.path;
    use.strength = lora.strength;
  }
  return infotext_of(record);
}

/// What of the request was changed on the way.
json changes_of(const JobRequest& request, const json& asked_fields) {
  const auto asked = [&](const char* name, int drawn_px) {
    const bool is_given = asked_fields.contains(name) && !asked_fields[name].is_null();
    return is_given ? asked_fields[name].dump() : std::to_string(drawn_px);
  };
  const auto side = [&](int width_px, int height_px) {
    return std::to_string(width_px) + "x" + std::to_string(height_px);
  };
  const std::string wanted =
      asked("width", request.width_px) + "x" + asked("height", request.height_px);
  if (wanted == side(request.width_px, request.height_px)) return json::object();
  return {{"Requested size", wanted}};
}

json state_view(const Job* job) {
  const bool is_running = job != nullptr && job->state == JobState::running;
  const bool is_sampling = is_running && job->progress.stage == "transformer";
  return {{"skipped", false},
          {"interrupted", job != nullptr && job->cancel_requested},
          {"stopping_generation", job != nullptr && job->cancel_requested},
          {"job", job == nullptr ? "" : job->id},
          {"job_count", job == nullptr ? 0 : 1},
          {"job_timestamp", job == nullptr ? "0" : std::to_string(job->created_ms)},
          {"job_no", 0},
          {"sampling_step", is_sampling ? job->progress.step : 0},
          {"sampling_steps", job == nullptr ? 0 : job->request.num_inference_steps}};
}

}  // namespace

json boolean_of_word(const json& value) {
  const std::string word = value.is_string() ? lower_case(value.get_ref<const std::string&>()) : "";
  const auto is_one_of = [&](std::initializer_list<std::string_view> words) {
    return std::ranges::find(words, word) != words.end();
  };
  if (is_one_of({"true", "t", "yes", "y", "on", "1"}) || value == 1) return true;
  if (is_one_of({"false", "f", "no", "n", "off", "0"}) || value == 0) return false;
  return value;
}

JobRequest a1111_request(const JsonReader& fields, const std::string& model,
                         const std::vector<WorkerInfo>& workers, const RequestLimits& limits,
                         std::shared_ptr<MemoryBudget::Share> upload_memory) {
  refuse_what_cannot_be_done(fields);
  if (!upload_memory && fields.has("init_images"))
    refuse_field("init_images", "are for /sdapi/v1/img2img");
  std::optional<GivenPicture> given;
  if (upload_memory) given = a1111_picture(fields, std::move(upload_memory));
  json common = common_fields(fields, model);
  const JsonReader reader(common, fields.where());
  round_sizes(common, worker_for(reader.text("model", ""), workers).size_multiple_px);
  JobRequest request =
      picture_request({std::move(common), fields.where()}, workers, limits, Naming::a1111,
                      read_count(fields, limits), given ? &*given : nullptr);
  request.previews = std::min(kMaxPreviews, request.num_inference_steps);
  if (fields.has("subseed_strength") && !request.variation_seeds.empty())
    std::ranges::fill(request.seeds, request.seeds.front());
  return request;
}

json repeated_fields(const JsonReader& fields) {
  json parameters = fields.value();
  if (!fields.boolean("include_init_images", false)) {
    parameters.erase("init_images");
    parameters.erase("mask");
  }
  return parameters;
}

JsonReader a1111_fields(const JsonReader& fields) {
  json read = fields.value();
  for (const char* name : kNumbers) {
    if (fields.has(name)) read[name] = number_of_word(read[name]);
  }
  for (const char* name : kBooleans) {
    if (fields.has(name)) read[name] = boolean_of_word(read[name]);
  }
  return {std::move(read), fields.where()};
}

std::string a1111_info(const Job& job, const json& asked) {
  const JobRequest& request = job.request;
  const std::size_t images = request.seeds.size();
  json texts = json::array();
  for (std::size_t i = 0; i < images; ++i) texts.push_back(infotext(job, i));
  const std::string prompt = job.enhanced_prompt.empty() ? prompt_of(request) : job.enhanced_prompt;
  const std::string negative = negative_prompt_of(request);
  json info = options_json(request, Naming::a1111);
  info.update({{"prompt", prompt},
               {"all_prompts", std::vector(images, prompt)},
               {"negative_prompt", negative},
               {"all_negative_prompts", std::vector(images, negative)},
               {"seed", request.seeds.front()},
               {"all_seeds", request.seeds},
               {"subseed", -1},
               {"all_subseeds", std::vector(images, -1)},
               {"subseed_strength", request.variation_strength.value_or(0)},
               {"seed_resize_from_w", -1},
               {"seed_resize_from_h", -1},
               {"sampler_name", "Euler"},
               {"batch_size", images},
               {"index_of_first_image", 0},
               {"sd_model_name", request.model},
               {"sd_model_hash", ""},
               {"sd_vae_name", nullptr},
               {"sd_vae_hash", nullptr},
               {"restore_faces", false},
               {"styles", json::array()},
               {"clip_skip", 1},
               {"is_using_inpainting_conditioning", false},
               {"denoising_strength", nullptr},
               {"extra_generation_params", changes_of(request, asked)},
               {"job_timestamp", std::to_string(job.created_ms)},
               {"infotexts", texts},
               {"version", std::string("ernie-image ") + version()}});
  if (!request.variation_seeds.empty()) {
    info["subseed"] = request.variation_seeds.front();
    info["all_subseeds"] = request.variation_seeds;
  }
  if (wants_hires(request))
    info["denoising_strength"] = request.hires_strength.value_or(kHiresStrength);
  if (!request.picture_use.sha256.empty()) info["denoising_strength"] = request.picture.strength;
  return info.dump(-1, ' ', false, json::error_handler_t::replace);
}

json a1111_png_info(ImageMetadata metadata) {
  const std::string info = metadata[kParametersChunk];
  metadata.erase(kParametersChunk);
  if (info.empty()) return {{"info", info}, {"items", metadata}, {"parameters", json::object()}};
  Infotext text = parse_infotext(info);
  if (const auto record = metadata.find(kRecordChunk); record != metadata.end()) {
    try {  // knows where a prompt ends that looks like settings
      const ImageRecord whole = parse_image_record("image", record->second);
      text.prompt = prompt_of(whole.request, whole.image_index);
      text.negative_prompt = negative_prompt_of(whole.request, whole.image_index);
    } catch (const Error&) {
    }
  }
  json parameters = {{"Prompt", text.prompt}, {"Negative prompt", text.negative_prompt}};
  for (const auto& [key, value] : text.settings) {
    const std::size_t cross = key == "Size" ? value.find('x') : std::string::npos;
    if (cross == std::string::npos) {
      parameters[key] = value;
    } else {
      parameters["Size-1"] = value.substr(0, cross);
      parameters["Size-2"] = value.substr(cross + 1);
    }
  }
  return {{"info", info}, {"items", metadata}, {"parameters", parameters}};
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
