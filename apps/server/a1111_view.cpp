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
  if (fields.boolean("enable_hr", false)) {
    refuse_field("enable_hr", "is not supported; ask for the size that is wanted");
  }
  if (!fields.text("script_name", "").empty()) {
    refuse_field("script_name", "is not supported");
  }
  if (fields.has("init_images")) refuse_field("init_images", "is not supported");
}

int read_count(const JsonReader& fields, const RequestLimits& limits) {
  const auto batch = fields.integer("batch_size", 1, 1, limits.max_images);
  const auto rounds = fields.integer("n_iter", 1, 1, limits.max_images);
  if (batch * rounds > limits.max_images) {
    refuse_field("n_iter", "times batch_size must be at most " + std::to_string(limits.max_images));
  }
  return static_cast<int>(batch * rounds);
}

/// The fields under the names that the other APIs have for them. What the web UI's clients send
/// besides has no meaning for this model.
json common_fields(const JsonReader& fields, const std::string& model) {
  json common = json::object();
  const auto take = [&](const char* name) {
    if (fields.has(name)) common[name] = *fields.find(name);
  };
  for (const char* name : {"prompt", "negative_prompt", "seed", "use_pe", "loras"}) take(name);
  for (const RequestOption& option : request_options()) take(option.name(Naming::a1111));
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
                         const std::vector<WorkerInfo>& workers, const RequestLimits& limits) {
  refuse_what_cannot_be_done(fields);
  JobRequest request = picture_request({common_fields(fields, model), fields.where()}, workers,
                                       limits, Naming::a1111, read_count(fields, limits));
  request.previews = std::min(kMaxPreviews, request.num_inference_steps);
  return request;
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
