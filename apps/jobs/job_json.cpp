#include "jobs/job_json.h"

#include <limits>

#include <nlohmann/json.hpp>

#include "common/json_fields.h"
#include "common/limits.h"
#include "common/lora.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxPromptBytes = 1 << 20;
constexpr std::size_t kMaxNameBytes = 1024;
constexpr int kMaxPreviews = 1000;
constexpr std::int64_t kMaxMilliseconds = std::int64_t{1} << 52;

/// Paths in messages need not be UTF-8.
std::string dump(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// The error kinds of the two who call it: a request is refused, stored text is damaged.
void check_request(const JobRequest& request, ErrorKind kind, const std::string& where) {
  const auto require = [&](bool holds, const char* problem) {
    if (!holds) throw Error(kind, where + problem);
  };
  const auto within = [](auto value, auto min, auto max) { return value >= min && value <= max; };
  const bool is_image = request.kind == JobKind::image;
  require(within(request.model.size(), 1u, kMaxNameBytes), "the model has no name");
  require(request.prompt.size() <= kMaxPromptBytes, "the prompt is too long");
  require(request.negative_prompt.size() <= kMaxPromptBytes, "the negative prompt is too long");
  require(within(request.width_px, 1, kMaxSidePx), "the width is out of range");
  require(within(request.height_px, 1, kMaxSidePx), "the height is out of range");
  require(within(request.num_inference_steps, is_image ? 1 : 0, kMaxSteps),
          "the number of steps is out of range");
  require(within(request.guidance_scale, 0.0, kMaxGuidanceScale), "the guidance is out of range");
  require(within(request.seeds.size(), is_image ? 1u : 0u, std::size_t{kMaxImages}),
          "the number of pictures is out of range");
  require(!extension_of("image/" + request.image_format).empty(),
          "the picture's format is not png, jpeg or webp");
  require(within(request.image_quality, 0, 100), "the picture's quality is out of range");
  require(within(request.previews, 0, kMaxPreviews), "the number of previews is out of range");
  require(request.loras.size() <= kMaxLoras, "there are too many LoRAs");
  for (const JobLora& lora : request.loras) {
    require(within(lora.name.size(), 1u, kMaxNameBytes), "a LoRA has no name");
    require(within(lora.strength, -kMaxLoraStrength, kMaxLoraStrength),
            "a LoRA's strength is out of range");
  }
}

json loras_json(const JobRequest& request) {
  json loras = json::array();
  for (const JobLora& lora : request.loras)
    loras.push_back({{"name", lora.name}, {"strength", lora.strength}});
  return loras;
}

json image_json(const JobImage& image) {
  return {{"seed", image.seed},
          {"width", image.width_px},
          {"height", image.height_px},
          {"content_type", image.content_type},
          {"size_bytes", image.size_bytes}};
}

JobImage parse_image(const JsonFields& fields) {
  JobImage image;
  image.seed = fields.seed("seed");
  image.width_px = fields.small("width", 1, kMaxSidePx);
  image.height_px = fields.small("height", 1, kMaxSidePx);
  image.content_type = fields.text("content_type", kMaxNameBytes);
  if (extension_of(image.content_type).empty()) fields.fail("content_type", "is not a picture's");
  image.size_bytes = static_cast<std::uint64_t>(
      fields.integer("size_bytes", 0, std::numeric_limits<std::int64_t>::max()));
  return image;
}

}  // namespace

void check_request(const JobRequest& request) {
  check_request(request, ErrorKind::invalid_argument, "");
}

std::string request_text(const JobRequest& request) {
  return dump({{"kind", request.kind == JobKind::image ? 0 : 1},
               {"model", request.model},
               {"prompt", request.prompt},
               {"negative_prompt", request.negative_prompt},
               {"width", request.width_px},
               {"height", request.height_px},
               {"steps", request.num_inference_steps},
               {"guidance", request.guidance_scale},
               {"seeds", request.seeds},
               {"enhance", request.enhance},
               {"format", request.image_format},
               {"quality", request.image_quality},
               {"previews", request.previews},
               {"trace", request.trace},
               {"priority", static_cast<int>(request.priority)},
               {"loras", loras_json(request)}});
}

JobRequest parse_request(std::string_view text, const std::string& where) {
  const JsonFields fields = JsonFields::parse(text, where);
  JobRequest request;
  request.kind = fields.integer("kind", 0, 1) == 0 ? JobKind::image : JobKind::enhance;
  request.model = fields.text("model", kMaxNameBytes);
  request.prompt = fields.text("prompt", kMaxPromptBytes);
  request.negative_prompt = fields.text("negative_prompt", kMaxPromptBytes);
  request.width_px = fields.small("width", 1, kMaxSidePx);
  request.height_px = fields.small("height", 1, kMaxSidePx);
  request.num_inference_steps = fields.small("steps", 0, kMaxSteps);
  request.guidance_scale = fields.number("guidance");
  request.seeds = fields.seeds("seeds", kMaxImages);
  request.enhance = fields.boolean("enhance");
  request.image_format = fields.text("format", kMaxNameBytes);
  request.image_quality = fields.small("quality", 0, 100);
  request.previews = fields.small("previews", 0, kMaxPreviews);
  request.trace = fields.boolean("trace");
  request.priority = static_cast<JobPriority>(fields.integer("priority", 0, 2));
  if (fields.has("loras")) {  // absent from jobs of older versions
    for (const JsonFields& lora : fields.objects("loras", kMaxLoras))
      request.loras.push_back({lora.text("name", kMaxNameBytes), lora.number("strength")});
  }
  check_request(request, ErrorKind::corrupt_file, where + ": ");
  return request;
}

std::string progress_text(const JobProgress& progress) {
  json object = {{"stage", progress.stage},
                 {"step", progress.step},
                 {"steps", progress.steps},
                 {"fraction", progress.fraction},
                 {"preview", progress.preview_index}};
  if (progress.seconds_left) object["seconds_left"] = *progress.seconds_left;
  return dump(object);
}

JobProgress parse_progress(std::string_view text, const std::string& where) {
  const JsonFields fields = JsonFields::parse(text, where);
  constexpr int kAny = std::numeric_limits<int>::max();
  JobProgress progress;
  progress.stage = fields.text("stage", kMaxNameBytes);
  progress.step = fields.small("step", 0, kAny);
  progress.steps = fields.small("steps", 0, kAny);
  progress.fraction = fields.number("fraction");
  progress.preview_index = fields.small("preview", -1, kAny);
  if (fields.has("seconds_left")) progress.seconds_left = fields.number("seconds_left");
  return progress;
}

JobOutcome outcome_of(const JobResult& result) {
  JobOutcome outcome{result.enhanced_prompt, result.prompt_tokens, {}};
  for (const FinishedImage& finished : result.images) {
    outcome.images.push_back(finished.image);
    outcome.images.back().size_bytes = finished.bytes.size();
  }
  return outcome;
}

std::string outcome_text(const JobOutcome& outcome) {
  json images = json::array();
  for (const JobImage& image : outcome.images) images.push_back(image_json(image));
  return dump({{"enhanced_prompt", outcome.enhanced_prompt},
               {"prompt_tokens", outcome.prompt_tokens},
               {"images", images}});
}

JobOutcome parse_outcome(std::string_view text, const std::string& where) {
  const JsonFields fields = JsonFields::parse(text, where);
  JobOutcome outcome;
  outcome.enhanced_prompt = fields.text("enhanced_prompt", kMaxPromptBytes);
  outcome.prompt_tokens = fields.small("prompt_tokens", 0, std::numeric_limits<int>::max());
  for (const JsonFields& image : fields.objects("images", kMaxImages)) {
    outcome.images.push_back(parse_image(image));
  }
  return outcome;
}

std::string worker_text(const WorkerInfo& worker) {
  return dump({{"name", worker.name},
               {"model", worker.model},
               {"device", worker.device},
               {"has_enhancer", worker.has_enhancer},
               {"width", worker.default_width_px},
               {"height", worker.default_height_px},
               {"steps", worker.default_num_inference_steps},
               {"guidance", worker.default_guidance_scale},
               {"size_multiple", worker.size_multiple_px},
               {"current_job", worker.current_job},
               {"last_seen_ms", worker.last_seen_ms},
               {"seconds_per_step", worker.seconds_per_step}});
}

WorkerInfo parse_worker(std::string_view text, const std::string& where) {
  const JsonFields fields = JsonFields::parse(text, where);
  WorkerInfo worker;
  worker.name = fields.text("name", kMaxNameBytes);
  worker.model = fields.text("model", kMaxNameBytes);
  worker.device = fields.text("device", kMaxNameBytes);
  worker.has_enhancer = fields.boolean("has_enhancer");
  worker.default_width_px = fields.small("width", 0, kMaxSidePx);
  worker.default_height_px = fields.small("height", 0, kMaxSidePx);
  worker.default_num_inference_steps = fields.small("steps", 0, kMaxSteps);
  worker.default_guidance_scale = fields.number("guidance");
  worker.size_multiple_px = fields.small("size_multiple", 1, kMaxSidePx);
  worker.current_job = fields.text("current_job", kMaxNameBytes);
  worker.last_seen_ms = fields.integer("last_seen_ms", 0, kMaxMilliseconds);
  worker.seconds_per_step = fields.number("seconds_per_step");
  return worker;
}

std::string batch_key(const JobRequest& request) {
  return dump(
      json::array({request.kind == JobKind::image ? 0 : 1, request.width_px, request.height_px,
                   request.num_inference_steps, request.guidance_scale, loras_json(request)}));
}

std::string extension_of(const std::string& content_type) {
  for (const char* extension : {"png", "jpeg", "webp"}) {
    if (content_type == std::string("image/") + extension) return extension;
  }
  return {};
}

}  // namespace ernie_image
