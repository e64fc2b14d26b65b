#include "jobs/job_json.h"

#include <algorithm>
#include <limits>

#include <nlohmann/json.hpp>

#include "io/json_reader.h"
#include "request/request.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxPromptBytes = 1 << 20;
constexpr std::size_t kMaxNameBytes = 1024;
constexpr int kMaxPreviews = 1000;

/// Paths in messages need not be UTF-8.
std::string dump(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

json image_json(const JobImage& image) {
  json object = {{"seed", image.seed},
                 {"width", image.width_px},
                 {"height", image.height_px},
                 {"content_type", image.content_type},
                 {"size_bytes", image.size_bytes}};
  if (image.is_removed) object["removed"] = true;
  return object;
}

JobImage parse_image(const JsonReader& fields) {
  JobImage image;
  image.seed = fields.seed("seed");
  image.width_px = fields.small("width", 1, kMaxSidePx);
  image.height_px = fields.small("height", 1, kMaxSidePx);
  image.content_type = fields.limited_text("content_type", kMaxNameBytes);
  if (extension_of(image.content_type).empty()) fields.fail("content_type", "that of a picture");
  image.size_bytes = static_cast<std::uint64_t>(
      fields.integer("size_bytes", 0, std::numeric_limits<std::int64_t>::max()));
  image.is_removed = fields.boolean("removed", false);
  return image;
}

}  // namespace

void check_job_request(const JobRequest& request, ErrorKind kind, const std::string& where) {
  const auto require = [&](bool holds, const std::string& problem) {
    if (!holds) throw Error(kind, where + problem);
  };
  const auto within = [](auto value, auto min, auto max) { return value >= min && value <= max; };
  const bool is_image = request.kind == JobKind::image;
  Request checked = request;
  if (!is_image) checked.seeds = {0};  // may be none: only an enhancer's draws need it
  check_request(checked, kind, where);
  for (const RequestOption& option : request_options()) {
    require(option.may_stay_open || !option.is_open(request),
            std::string(option.title) + " is missing");
  }
  require(request.prompts.size() == 1, "a job has one prompt");
  require(!is_image || request.seeds.size() == static_cast<std::size_t>(image_count(request)),
          "a job has one seed for each picture");
  require(within(request.model.size(), 1u, kMaxNameBytes), "the model has no name");
  require(prompt_of(request).size() <= kMaxPromptBytes, "the prompt is too long");
  require(negative_prompt_of(request).size() <= kMaxPromptBytes, "the negative prompt is too long");
  for (const Adapter& lora : request.adapters) {
    require(within(lora.path.size(), 1u, kMaxNameBytes), "a LoRA has no name");
    require(lora.prompt == -1, "a LoRA is for a prompt of its own");
  }
  require(request.picture.image.rgb.empty() && request.picture.mask.empty(),
          "a job's picture is a file of its own");
  require(request.picture_use.mask_sha256.empty() || !request.picture_use.sha256.empty(),
          "a mask is without a picture");
  require(!extension_of("image/" + request.image_format).empty(),
          "the picture's format is not png, jpeg or webp");
  require(within(request.image_quality, 0, 100), "the picture's quality is out of range");
  require(within(request.previews, 0, kMaxPreviews), "the number of previews is out of range");
}

std::string request_text(const JobRequest& request) {
  json object = options_json(request, Naming::brief);
  object.update({{"kind", static_cast<int>(request.kind)},
                 {"model", request.model},
                 {"prompt", prompt_of(request)},
                 {"negative_prompt", negative_prompt_of(request)},
                 {"seeds", request.seeds},
                 {"enhance", request.enhance},
                 {"format", request.image_format},
                 {"quality", request.image_quality},
                 {"previews", request.previews},
                 {"trace", request.chrome_trace},
                 {"priority", static_cast<int>(request.priority)}});
  if (request.has_given_seeds) object["seeds_given"] = true;
  write_runs(request, object);
  if (!request.adapters.empty()) object["loras"] = adapters_json(request.adapters);
  if (!request.picture_use.sha256.empty())
    object["image"] = picture_use_json(request.picture_use, request.picture);
  return dump(object);
}

JobRequest parse_request(std::string_view text, const std::string& where) {
  const JsonReader fields = JsonReader::parse(text, where);
  JobRequest request;
  request.kind = static_cast<JobKind>(fields.integer("kind", 0, 1));
  request.model = fields.limited_text("model", kMaxNameBytes);
  request.set_prompts(fields.limited_text("prompt", kMaxPromptBytes),
                      fields.limited_text("negative_prompt", kMaxPromptBytes));
  read_options(fields, Naming::brief, false, request);
  request.set_seeds(fields.seeds("seeds", kMaxImages));
  request.has_given_seeds = fields.boolean("seeds_given", false);
  read_runs(fields, request);
  request.enhance = fields.boolean("enhance");
  request.image_format = fields.limited_text("format", kMaxNameBytes);
  request.image_quality = fields.small("quality", 0, 100);
  request.previews = fields.small("previews", 0, kMaxPreviews);
  request.chrome_trace = fields.boolean("trace");
  request.priority = static_cast<JobPriority>(fields.integer("priority", 0, 2));
  request.adapters = read_adapters(fields, "loras", 1);
  if (const std::optional<JsonReader> picture = fields.object("image"))
    request.picture_use = read_picture_use(*picture, request.picture);
  check_job_request(request, ErrorKind::corrupt_file, where + ": ");
  return request;
}

std::string progress_text(const JobProgress& progress) {
  json object = {{"stage", progress.stage},           {"step", progress.step},
                 {"steps", progress.steps},           {"fraction", progress.fraction},
                 {"preview", progress.preview_index}, {"image", progress.image},
                 {"images", progress.images}};
  if (progress.seconds_left) object["seconds_left"] = *progress.seconds_left;
  return dump(object);
}

JobProgress parse_progress(std::string_view text, const std::string& where) {
  const JsonReader fields = JsonReader::parse(text, where);
  constexpr int kAny = std::numeric_limits<int>::max();
  JobProgress progress;
  progress.stage = fields.limited_text("stage", kMaxNameBytes);
  progress.step = fields.small("step", 0, kAny);
  progress.steps = fields.small("steps", 0, kAny);
  progress.fraction = fields.number("fraction");
  progress.preview_index = fields.small("preview", -1, kAny);
  if (fields.has("image")) {  // which workers of an earlier release do not tell
    progress.image = fields.small("image", -1, kAny);
    progress.images = fields.small("images", 0, kAny);
  }
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
  const JsonReader fields = JsonReader::parse(text, where);
  JobOutcome outcome;
  outcome.enhanced_prompt = fields.limited_text("enhanced_prompt", kMaxPromptBytes);
  outcome.prompt_tokens = fields.small("prompt_tokens", 0, std::numeric_limits<int>::max());
  for (const JsonReader& image : fields.objects("images", kMaxImages)) {
    outcome.images.push_back(parse_image(image));
  }
  return outcome;
}

std::string worker_text(const WorkerInfo& worker) {
  json object = options_json(worker.defaults, Naming::brief);
  object.update({{"name", worker.name},
                 {"model", worker.model},
                 {"device", worker.device},
                 {"has_enhancer", worker.has_enhancer},
                 {"size_multiple", worker.size_multiple_px},
                 {"current_job", worker.current_job},
                 {"pixels_per_second", worker.pixels_per_second},
                 {"seconds_per_step", worker.seconds_per_step}});
  return dump(object);
}

WorkerInfo parse_worker(std::string_view text, const std::string& where) {
  const JsonReader fields = JsonReader::parse(text, where);
  WorkerInfo worker;
  worker.name = fields.limited_text("name", kMaxNameBytes);
  worker.model = fields.limited_text("model", kMaxNameBytes);
  worker.device = fields.limited_text("device", kMaxNameBytes);
  worker.has_enhancer = fields.boolean("has_enhancer");
  read_options(fields, Naming::brief, true, worker.defaults);
  worker.size_multiple_px = fields.small("size_multiple", 1, kMaxSidePx);
  worker.current_job = fields.limited_text("current_job", kMaxNameBytes);
  worker.pixels_per_second = fields.number("pixels_per_second", 0);
  worker.seconds_per_step = fields.number("seconds_per_step");
  return worker;
}

void check_worker_name(const std::string& name, const std::string& where) {
  const bool has_control = std::ranges::any_of(
      name, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (!name.empty() && name.size() <= kMaxNameBytes && !has_control) return;
  throw Error(ErrorKind::invalid_argument,
              where + ": a name of " + std::to_string(name.size()) + " bytes" +
                  (has_control ? " with control characters" : "") + ", expected 1 to " +
                  std::to_string(kMaxNameBytes) + " printable ones");
}

void check_worker(const WorkerInfo& worker) {
  check_worker_name(worker.name, "worker");
  check_worker_name(worker.model, "the worker's model");
  check_worker_name(worker.device, "the worker's device");
  try {
    parse_worker(worker_text(worker), "worker " + worker.name);
  } catch (const Error& error) {
    throw Error(ErrorKind::invalid_argument, error.what());
  }
}

std::string without_folders(const std::string& message) {
  constexpr std::string_view kBefore = " '\"(=";  // what a path may come after
  constexpr std::string_view kAfter = " '\"):;,";
  std::string text;
  for (std::size_t i = 0; i < message.size();) {
    const bool begins_path =
        message[i] == '/' && (i == 0 || kBefore.find(message[i - 1]) != kBefore.npos);
    if (!begins_path) {
      text += message[i++];
      continue;
    }
    const std::size_t end = std::min(message.find_first_of(kAfter, i), message.size());
    const std::string path = message.substr(i, end - i);
    text += path.substr(path.rfind('/', path.size() - 2) + 1);
    i = end;
  }
  return text;
}

std::string batch_key(const JobRequest& request) {
  json key = json::array({static_cast<int>(request.kind)});
  json further = json::object();
  for (const RequestOption& option : request_options()) {
    if (!option.may_stay_open)
      key.push_back(option.get(request));
    else if (!option.is_open(request))
      further[option.name()] = option.get(request);
  }
  write_runs(request, further);
  further.erase("variation_seeds");  // each picture has its own
  if (!further.empty()) key.push_back(std::move(further));
  // They change the model for all that is drawn together.
  if (!request.adapters.empty()) key.push_back(adapters_json(request.adapters));
  // One picture is under all noise that is drawn together.
  if (!request.picture_use.sha256.empty())
    key.push_back(picture_use_json(request.picture_use, request.picture));
  return dump(key);
}

std::string extension_of(const std::string& content_type) {
  for (const char* extension : {"png", "jpeg", "webp"}) {
    if (content_type == std::string("image/") + extension) return extension;
  }
  return {};
}

}  // namespace ernie_image
