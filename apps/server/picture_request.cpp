#include "server/picture_request.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "common/limits.h"
#include "common/lora.h"
#include "server/api_error.h"
#include "server/random_hex.h"

namespace ernie_image {
namespace {

using nlohmann::json;

std::string last_part_in_lower_case(const std::string& model) {
  std::string name = model.substr(model.rfind('/') + 1);
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

std::size_t code_points(std::string_view utf8) {
  return static_cast<std::size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string prompt_of(const RequestFields& fields, const char* name, const RequestLimits& limits) {
  const std::string prompt = fields.text(name).value_or("");
  if (code_points(prompt) > limits.max_prompt_chars) {
    refuse_field(name,
                 "must have at most " + std::to_string(limits.max_prompt_chars) + " characters");
  }
  if (prompt.find('\0') != std::string::npos) refuse_field(name, "must not hold a zero byte");
  return prompt;
}

/// "1024x768"; nothing for "auto" and for no size at all.
std::optional<std::pair<int, int>> parse_size(const RequestFields& fields) {
  const std::optional<std::string> text = fields.text("size");
  if (!text || *text == "auto") return std::nullopt;
  int width = 0, height = 0;
  const char* const end = text->data() + text->size();
  const auto [cross, error] = std::from_chars(text->data(), end, width);
  const bool has_cross = error == std::errc() && cross != end && *cross == 'x';
  const auto [rest, error2] = std::from_chars(has_cross ? cross + 1 : end, end, height);
  if (!has_cross || error2 != std::errc() || rest != end) {
    refuse_field("size", "must be WIDTHxHEIGHT, or auto");
  }
  return std::pair(width, height);
}

void check_side(const char* name, int side_px, int multiple_px) {
  if (side_px < 1 || side_px > kMaxSidePx || side_px % multiple_px != 0) {
    refuse_field(name, "must divide by " + std::to_string(multiple_px) + " and be at most " +
                           std::to_string(kMaxSidePx) + " pixels");
  }
}

void set_size(const RequestFields& fields, const WorkerInfo& worker, const RequestLimits& limits,
              JobRequest& request) {
  const auto size = parse_size(fields);
  const auto width = fields.integer("width", 1, kMaxSidePx);
  const auto height = fields.integer("height", 1, kMaxSidePx);
  const auto side = [](std::optional<std::int64_t> given, int otherwise) {
    return given ? static_cast<int>(*given) : otherwise;
  };
  request.width_px = side(width, size ? size->first : worker.default_width_px);
  request.height_px = side(height, size ? size->second : worker.default_height_px);
  const int multiple = std::max(1, worker.size_multiple_px);
  check_side(size && !width ? "size" : "width", request.width_px, multiple);
  check_side(size && !height ? "size" : "height", request.height_px, multiple);
  if (std::int64_t{request.width_px} * request.height_px > limits.max_pixels) {
    refuse_field(size ? "size" : "width", "and height together must be at most " +
                                              std::to_string(limits.max_pixels) + " pixels");
  }
}

/// One seed an image: a single one is that of the first, the others count on from it.
std::vector<std::uint64_t> seeds_of(const RequestFields& fields, std::size_t images) {
  std::vector<std::optional<std::uint64_t>> given =
      fields.seeds("seed", images).value_or(std::vector<std::optional<std::uint64_t>>(1));
  if (given.size() != 1 && given.size() != images) {
    refuse_field("seed", "must be one number, or a list of as many as there are images");
  }
  std::vector<std::uint64_t> seeds;
  for (const std::optional<std::uint64_t>& seed : given) {
    seeds.push_back(seed ? *seed : random_seed());
  }
  while (seeds.size() < images) seeds.push_back(seeds.back() + 1);
  return seeds;
}

void set_output(const RequestFields& fields, JobRequest& request) {
  request.image_format = fields.choice("output_format", {"png", "jpeg", "webp"}).value_or("png");
  request.image_quality =
      static_cast<int>(fields.integer("output_compression", 0, 100).value_or(100));
}

JobLora lora_of(const json& value) {
  constexpr const char* kExpected = "must be a list of objects with a name and a strength";
  if (value.is_string()) return {value.get<std::string>(), 1};
  if (!value.is_object() || !value.contains("name")) refuse_field("loras", kExpected);
  for (const auto& [key, member] : value.items()) {
    if (key != "name" && key != "strength") refuse_field("loras", kExpected);
  }
  const RequestFields fields(value);
  return {fields.text("name").value_or(""),
          fields.number("strength", -kMaxLoraStrength, kMaxLoraStrength).value_or(1)};
}

/// Those of the field and, after them, those of the prompt, which loses its tags.
void set_loras(const RequestFields& fields, const RequestLimits& limits, JobRequest& request) {
  if (fields.has("loras")) {
    const json& list = fields.object().at("loras");
    if (!list.is_array()) refuse_field("loras", "must be a list");
    for (const json& value : list) request.loras.push_back(lora_of(value));
  }
  try {
    for (const NamedLora& lora : take_lora_tags(request.prompt))
      request.loras.push_back({lora.name, lora.strength});
  } catch (const Error& error) {
    throw ApiError(400, error.what(), "prompt", "invalid_value");
  }
  if (request.loras.size() > kMaxLoras)
    refuse_field("loras", "may be at most " + std::to_string(kMaxLoras));
  for (const JobLora& lora : request.loras) {
    if (limits.lora_directory.empty()) refuse_field("loras", "are not offered by this server");
    try {
      find_lora(limits.lora_directory, lora.name);
    } catch (const Error&) {
      refuse_field("loras",
                   "names one that this server does not have; GET /sdapi/v1/loras lists "
                   "those there are");
    }
  }
}

}  // namespace

const WorkerInfo& worker_for(const std::string& model, const std::vector<WorkerInfo>& workers) {
  if (workers.empty()) {
    ApiError error(503, "no model is ready yet", "", "no_worker");
    error.retry_after_seconds = 5;
    throw error;
  }
  if (model.empty()) return workers.front();
  for (const WorkerInfo& worker : workers) {
    if (worker.model == model) return worker;
  }
  for (const WorkerInfo& worker : workers) {
    if (last_part_in_lower_case(worker.model) == last_part_in_lower_case(model)) return worker;
  }
  throw ApiError(404, "there is no model of that name; GET /v1/models lists those there are",
                 "model", "model_not_found");
}

JobRequest picture_request(const RequestFields& fields, const std::vector<WorkerInfo>& workers,
                           const RequestLimits& limits, const FieldNames& names,
                           std::optional<int> count) {
  const WorkerInfo& worker = worker_for(fields.text("model").value_or(""), workers);
  JobRequest request;
  request.model = worker.model;
  request.prompt = prompt_of(fields, "prompt", limits);
  request.negative_prompt = prompt_of(fields, "negative_prompt", limits);
  set_size(fields, worker, limits, request);
  const auto images = static_cast<std::size_t>(
      count ? *count : fields.integer(names.count, 1, limits.max_images).value_or(1));
  request.seeds = seeds_of(fields, images);
  request.num_inference_steps = static_cast<int>(fields.integer(names.steps, 1, limits.max_steps)
                                                     .value_or(worker.default_num_inference_steps));
  request.guidance_scale =
      fields.number(names.guidance, 0, kMaxGuidanceScale).value_or(worker.default_guidance_scale);
  request.enhance = fields.boolean("use_pe").value_or(worker.has_enhancer);
  if (request.enhance && !worker.has_enhancer) {
    refuse_field("use_pe", "asks for a prompt enhancer, which this model has not");
  }
  set_output(fields, request);
  set_loras(fields, limits, request);
  return request;
}

std::vector<std::string> model_names(const std::vector<WorkerInfo>& workers) {
  std::vector<std::string> names;
  for (const WorkerInfo& worker : workers) {
    if (std::find(names.begin(), names.end(), worker.model) == names.end()) {
      names.push_back(worker.model);
    }
  }
  return names;
}

double pixels_of(const JobRequest& request) {
  return static_cast<double>(request.width_px) * request.height_px *
         static_cast<double>(request.seeds.size());
}

}  // namespace ernie_image
