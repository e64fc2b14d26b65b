#include "server/image_request.h"

#include <algorithm>
#include <charconv>

#include "common/lora.h"
#include "core/ascii.h"
#include "io/json.h"
#include "server/api_error.h"
#include "server/random_hex.h"

namespace ernie_image {
namespace {

constexpr std::int64_t kAnyNumber = std::int64_t{1} << 53;

std::string last_part_in_lower_case(const std::string& model) {
  return lower_case(model.substr(model.rfind('/') + 1));
}

std::size_t code_points(std::string_view utf8) {
  return static_cast<std::size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string read_prompt(const JsonReader& fields, const char* name, const RequestLimits& limits) {
  std::string prompt = fields.text(name, "");
  if (code_points(prompt) > limits.max_prompt_chars) {
    refuse_field(name,
                 "must have at most " + std::to_string(limits.max_prompt_chars) + " characters");
  }
  if (prompt.find('\0') != std::string::npos) refuse_field(name, "must not hold a zero byte");
  return prompt;
}

/// "1024x768"; nothing for "auto" and for no size at all.
std::optional<std::pair<int, int>> parse_size(const JsonReader& fields) {
  const std::string text = fields.text("size", "auto");
  if (text == "auto") return std::nullopt;
  int width = 0, height = 0;
  const char* const end = text.data() + text.size();
  const auto [cross, error] = std::from_chars(text.data(), end, width);
  const bool has_cross = error == std::errc() && cross != end && *cross == 'x';
  const auto [rest, error2] = std::from_chars(has_cross ? cross + 1 : end, end, height);
  if (!has_cross || error2 != std::errc() || rest != end || width < 1 || height < 1) {
    refuse_field("size", "must be WIDTHxHEIGHT, or auto");
  }
  return std::pair(width, height);
}

void check_side(const char* name, int side_px, int multiple_px) {
  if (side_px < 1 || side_px > kMaxSidePx || side_px % multiple_px != 0) {
    refuse_field(name, "must divide by " + std::to_string(multiple_px) + " and be at most " +
                           std::to_string(kMaxSidePx) + " pixels; nearest to " +
                           std::to_string(side_px) + ": " + nearest_sides(side_px, multiple_px));
  }
}

/// The number of steps that is asked for, not a model's own, has the server's limit.
void set_options(const JsonReader& fields, Naming naming, const WorkerInfo& worker,
                 const RequestLimits& limits, const GivenPicture* picture, JobRequest& request) {
  read_options(fields, naming, true, request);
  if (request.num_inference_steps > limits.max_steps) {
    fields.fail(request_option("num_inference_steps").name(naming),
                "a whole number from 1 to " + std::to_string(limits.max_steps));
  }
  const auto size = parse_size(fields);
  const char* const width_name = size && request.width_px == 0 ? "size" : "width";
  const char* const height_name = size && request.height_px == 0 ? "size" : "height";
  if (size && request.width_px == 0) request.width_px = size->first;
  if (size && request.height_px == 0) request.height_px = size->second;
  const int multiple = std::max(1, worker.size_multiple_px);
  if (picture != nullptr)
    choose_size(request, picture->image, picture->mask, picture->handling, multiple,
                worker.defaults);
  static_cast<Request&>(request) = with_defaults(request, worker.defaults);
  check_side(width_name, request.width_px, multiple);
  check_side(height_name, request.height_px, multiple);
  if (std::int64_t{request.width_px} * request.height_px > limits.max_pixels) {
    refuse_field(size ? "size" : "width", "and height together must be at most " +
                                              std::to_string(limits.max_pixels) + " pixels");
  }
}

/// The second run has the size limits of the first, and its steps that of the server.
void check_hires(const JsonReader& fields, int multiple, const RequestLimits& limits,
                 const JobRequest& request) {
  if (request.hires_steps > limits.max_steps)
    fields.fail("hires_steps", "a whole number from 1 to " + std::to_string(limits.max_steps));
  if (request.hires_strength == 0.0) refuse_field("hires_strength", "must be above 0");
  if (!wants_hires(request)) return;
  const char* const name = request.hires_width_px != 0 ? "hires_width" : "hires_scale";
  const auto [width, height] = hires_size(request, multiple);
  check_side(name, width, multiple);
  check_side(request.hires_width_px != 0 ? "hires_height" : name, height, multiple);
  if (std::int64_t{width} * height > limits.max_pixels) {
    refuse_field(name, "asks for " + std::to_string(width) + "x" + std::to_string(height) +
                           " pixels; at most " + std::to_string(limits.max_pixels) +
                           " are possible");
  }
}

/// Nothing for -1 and null, which stand for a seed to be drawn.
std::optional<std::uint64_t> read_seed(const nlohmann::json& value, const std::string& name) {
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  const std::optional<std::int64_t> number = whole_number(value);
  if (number == -1) return std::nullopt;
  if (!number || *number < 0) {
    refuse_field(name, "must be a whole number from 0 to 18446744073709551615, or a list of them");
  }
  return static_cast<std::uint64_t>(*number);
}

/// One seed an image: a single one is that of the first, the others count on from it.
std::vector<std::uint64_t> read_seeds(const JsonReader& fields, const std::string& name,
                                      std::size_t images) {
  const nlohmann::json* value = fields.find(name);
  std::vector<nlohmann::json> given = {value == nullptr ? nlohmann::json(-1) : *value};
  if (value != nullptr && value->is_array()) given.assign(value->begin(), value->end());
  if (given.size() != 1 && given.size() != images) {
    refuse_field(name, "must be one number, or a list of as many as there are images");
  }
  std::vector<std::uint64_t> seeds;
  for (const nlohmann::json& entry : given) {
    const std::optional<std::uint64_t> seed = read_seed(entry, name);
    seeds.push_back(seed ? *seed : random_seed());
  }
  while (seeds.size() < images) seeds.push_back(seeds.back() + 1);
  return seeds;
}

/// False if one was drawn.
bool has_all_seeds(const JsonReader& fields, const std::string& name) {
  const nlohmann::json* const value = fields.find(name);
  if (value == nullptr) return false;
  if (!value->is_array()) return read_seed(*value, name).has_value();
  return std::ranges::all_of(*value,
                             [&](const auto& entry) { return read_seed(entry, name).has_value(); });
}

/// Of the noise that is mixed in, where any is.
void set_variation(const JsonReader& fields, JobRequest& request) {
  if (request.variation_strength.value_or(0) == 0) return;
  request.variation_seeds = read_seeds(fields, "variation_seed", request.seeds.size());
  request.has_given_seeds = request.has_given_seeds && has_all_seeds(fields, "variation_seed");
}

/// Within the result; drawn with `strength`, which is another's if a picture is given.
void set_boxes(const JsonReader& fields, int multiple, const GivenPicture* picture,
               JobRequest& request) {
  request.boxes = read_boxes(fields, "boxes");
  if (request.boxes.empty() && picture == nullptr && fields.has("strength"))
    refuse_field("strength", "needs an image, or boxes");
  if (request.boxes.empty()) return;
  if (picture == nullptr && fields.has("strength")) {
    request.picture.strength = fields.number("strength", 0, 1);
    if (request.picture.strength == 0) refuse_field("strength", "must be above 0");
  }
  const auto [width, height] = wants_hires(request)
                                   ? hires_size(request, multiple)
                                   : std::pair(request.width_px, request.height_px);
  for (const Box& box : request.boxes) {
    if (box.left_px + box.width_px > width || box.top_px + box.height_px > height)
      refuse_field("boxes", "must lie within the picture of " + std::to_string(width) + "x" +
                                std::to_string(height) + " pixels");
  }
  if (picture != nullptr && picture->handling.area_padding_px)
    refuse_field("boxes", "and inpaint_area exclude each other");
}

void set_output(const JsonReader& fields, JobRequest& request) {
  request.image_format = fields.choice("output_format", "png", {"png", "jpeg", "webp"});
  // Clients send what other services take, also for a PNG, which has no quality.
  const std::int64_t quality = fields.integer("output_compression", 100, -kAnyNumber, kAnyNumber);
  request.image_quality = static_cast<int>(std::clamp<std::int64_t>(quality, 1, 100));
}

Adapter lora_of(const nlohmann::json& value, const std::string& where) {
  constexpr const char* kExpected = "must be a list of objects with a name and a strength";
  if (value.is_string()) return {value.get<std::string>(), 1.0, -1};
  if (!value.is_object()) refuse_field("loras", kExpected);
  const JsonReader fields(value, where);
  if (!fields.has("name") || fields.unknown_key({"name", "strength"}))
    refuse_field("loras", kExpected);
  const bool has_strength = fields.has("strength");
  return {fields.text("name"),
          has_strength ? fields.number("strength", -kMaxAdapterStrength, kMaxAdapterStrength) : 1.0,
          -1};
}

void refuse_unknown_lora(const RequestLimits& limits, const std::string& name) {
  if (limits.lora_directory.empty()) refuse_field("loras", "are not offered by this server");
  try {
    find_lora(limits.lora_directory, name);
  } catch (const Error&) {
    refuse_field("loras",
                 "names one that this server does not have; GET /sdapi/v1/loras lists those there "
                 "are");
  }
}

/// Those of the field and, after them, those of the prompt, which loses its tags.
void set_loras(const JsonReader& fields, const RequestLimits& limits, JobRequest& request) {
  if (const nlohmann::json* const list = fields.find("loras")) {
    if (!list->is_array()) refuse_field("loras", "must be a list");
    for (const nlohmann::json& value : *list)
      request.adapters.push_back(lora_of(value, fields.where()));
  }
  try {
    for (const NamedLora& lora : take_lora_tags(request.prompts.front()))
      request.adapters.push_back({lora.name, lora.strength, -1});
  } catch (const Error& error) {
    throw ApiError(400, error.what(), "prompt", "invalid_value");
  }
  if (request.adapters.size() > std::size_t{kMaxAdapters})
    refuse_field("loras", "may be at most " + std::to_string(kMaxAdapters));
  for (const Adapter& lora : request.adapters) refuse_unknown_lora(limits, lora.path);
}

}  // namespace

const WorkerInfo& worker_for(const std::string& model, const std::vector<WorkerInfo>& workers,
                             const std::vector<std::string>& aliases) {
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
  if (std::ranges::find(aliases, model) != aliases.end()) return workers.front();
  throw ApiError(404, "there is no model of that name; GET /v1/models lists those there are",
                 "model", "model_not_found");
}

JobRequest picture_request(const JsonReader& fields, const std::vector<WorkerInfo>& workers,
                           const RequestLimits& limits, Naming naming, std::optional<int> count,
                           const GivenPicture* picture) {
  const WorkerInfo& worker = worker_for(fields.text("model", ""), workers, limits.model_aliases);
  JobRequest request;
  request.model = worker.model;
  request.set_prompts(read_prompt(fields, "prompt", limits),
                      read_prompt(fields, "negative_prompt", limits));
  set_options(fields, naming, worker, limits, picture, request);
  const std::int64_t images = count ? *count : fields.integer("n", 1, 1, limits.max_images);
  request.set_seeds(read_seeds(fields, "seed", static_cast<std::size_t>(images)));
  request.has_given_seeds = has_all_seeds(fields, "seed");
  set_variation(fields, request);
  request.enhance = fields.boolean("use_pe", worker.has_enhancer && picture == nullptr);
  if (request.enhance && !worker.has_enhancer) {
    refuse_field("use_pe", "asks for a prompt enhancer, which this model has not");
  }
  set_output(fields, request);
  set_loras(fields, limits, request);
  if (picture != nullptr) use_picture(request, *picture);
  const int multiple = std::max(1, worker.size_multiple_px);
  set_boxes(fields, multiple, picture, request);
  check_hires(fields, multiple, limits, request);
  const bool draws_part = picture != nullptr && picture->mask;
  if (draws_part && wants_hires(request))
    refuse_field("hires_scale", "is for whole pictures; leave out the mask");
  return request;
}

void refuse_unknown(const JsonReader& fields, const std::vector<std::string_view>& others) {
  std::vector<std::string_view> known = {"prompt",
                                         "negative_prompt",
                                         "model",
                                         "n",
                                         "size",
                                         "seed",
                                         "use_pe",
                                         "output_format",
                                         "output_compression",
                                         "loras",
                                         "variation_seed",
                                         "boxes",
                                         "strength"};
  for (const RequestOption& option : request_options()) known.emplace_back(option.name());
  known.insert(known.end(), others.begin(), others.end());
  if (const auto unknown = fields.unknown_key(known)) {
    throw ApiError(400, "unknown field: " + printable(*unknown), unknown->substr(0, 100),
                   "unknown_parameter");
  }
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

namespace {

/// Of each picture's further runs. A box is drawn at the picture's size, more or less.
double further_pixels(const JobRequest& request) {
  const auto [width, height] = wants_hires(request) ? hires_size(request, 1) : std::pair(0, 0);
  return static_cast<double>(width) * height +
         static_cast<double>(request.boxes.size()) * request.width_px * request.height_px;
}

}  // namespace

double pixels_of(const JobRequest& request) {
  const Image& given = request.picture.image;
  return static_cast<double>(request.width_px) * request.height_px *
             static_cast<double>(request.seeds.size()) +
         static_cast<double>(given.width_px) * given.height_px +
         static_cast<double>(request.seeds.size()) * further_pixels(request);
}

}  // namespace ernie_image
