#include "request/request.h"

#include <algorithm>
#include <cmath>

#include "io/json.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr RequestOption kOptions[] = {
    {&Request::width_px, {"width", "width", "width"}, "the width", 1, kMaxSidePx},
    {&Request::height_px, {"height", "height", "height"}, "the height", 1, kMaxSidePx},
    {&Request::num_inference_steps,
     {"num_inference_steps", "steps", "steps"},
     "the number of steps",
     1,
     kMaxInferenceSteps},
    {&Request::guidance_scale,
     {"guidance_scale", "guidance", "cfg_scale"},
     "the guidance scale",
     0,
     kMaxGuidanceScale},
    {&Request::variation_strength,
     {"variation_strength", "variation_strength", "variation_strength"},
     "the strength of the variation",
     0,
     1,
     true},
    {&Request::hires_scale,
     {"hires_scale", "hires_scale", "hires_scale"},
     "the scale of the second run",
     1,
     kMaxHiresScale,
     true},
    {&Request::hires_width_px,
     {"hires_width", "hires_width", "hires_width"},
     "the width of the second run",
     1,
     kMaxSidePx,
     true},
    {&Request::hires_height_px,
     {"hires_height", "hires_height", "hires_height"},
     "the height of the second run",
     1,
     kMaxSidePx,
     true},
    {&Request::hires_strength,
     {"hires_strength", "hires_strength", "hires_strength"},
     "the strength of the second run",
     0,
     1,
     true},
    {&Request::hires_steps,
     {"hires_steps", "hires_steps", "hires_steps"},
     "the number of steps of the second run",
     1,
     kMaxInferenceSteps,
     true},
};

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;  // which clang 14 does not find by itself

/// What is wrong with the value; empty if nothing is.
std::string problem_of(const RequestOption& option, const Request& request) {
  if (option.is_open(request)) return {};
  const json value = option.get(request);
  const double number = value.get<double>();
  if (number >= option.min && number <= option.max) return {};
  return std::string(option.title) + " must be " + option.limit(option.min).dump() + " to " +
         option.limit(option.max).dump() + ", found " +
         (std::isfinite(number) ? value.dump() : std::to_string(number));
}

std::string problem_of_adapters(const Request& request) {
  const std::size_t prompts = request.prompts.size();
  int of_all = 0;
  std::vector<int> of_each(prompts);
  for (const Adapter& adapter : request.adapters) {
    if (!(std::abs(adapter.strength) <= kMaxAdapterStrength)) {
      const std::string limit = std::to_string(static_cast<int>(kMaxAdapterStrength));
      return "the strength of adapter " + printable(adapter.path) + " must be -" + limit + " to " +
             limit + ", found " + std::to_string(adapter.strength);
    }
    if (adapter.prompt < -1 || adapter.prompt >= static_cast<int>(prompts)) {
      return "adapter " + printable(adapter.path) + " is for prompt " +
             std::to_string(adapter.prompt) + ", and there are " + std::to_string(prompts) +
             ", counted from 0";
    }
    ++(adapter.prompt < 0 ? of_all : of_each[static_cast<std::size_t>(adapter.prompt)]);
  }
  const int most = of_all + std::ranges::max(of_each);
  if (most <= kMaxAdapters) return {};
  return std::to_string(most) + " adapters for one prompt; at most " +
         std::to_string(kMaxAdapters) + " are possible";
}

/// The same of the lists, which must fit together.
std::string problem_of_counts(const Request& request) {
  const std::size_t prompts = request.prompts.size();
  const std::size_t negatives = request.negative_prompts.size();
  if (prompts == 0) return "no prompt was given";
  if (negatives > 1 && negatives != prompts) {
    return std::to_string(negatives) + " negative prompts for " + std::to_string(prompts) +
           " prompts; give one for all, or one a prompt";
  }
  if (request.num_images_per_prompt < 1) {
    return "the number of images must be at least 1, found " +
           std::to_string(request.num_images_per_prompt);
  }
  const std::size_t images = prompts * static_cast<std::size_t>(request.num_images_per_prompt);
  if (prompts > std::size_t{kMaxImages} || images > std::size_t{kMaxImages}) {
    return std::to_string(images) + " images in one batch; at most " + std::to_string(kMaxImages) +
           " are possible";
  }
  if (request.seeds.size() != 1 && request.seeds.size() != images) {
    return std::to_string(request.seeds.size()) + " seeds for " + std::to_string(images) +
           " images; give one seed for all, or one an image";
  }
  return problem_of_adapters(request);
}

/// The same of what changes the noise, and of further runs.
std::string problem_of_runs(const Request& request) {
  const std::size_t variations = request.variation_seeds.size();
  if (variations != 0 && variations != request.seeds.size()) {
    return std::to_string(variations) + " seeds of variations for " +
           std::to_string(request.seeds.size()) + " seeds; give as many";
  }
  if (request.variation_strength.value_or(0) > 0 && variations == 0)
    return "a variation needs a seed of its own";
  const bool has_width = request.hires_width_px != 0, has_height = request.hires_height_px != 0;
  if (has_width != has_height) return "the size of the second run needs both of its sides";
  if (request.hires_strength == 0.0) return "the strength of the second run must be above 0";
  const bool draws_part = !request.picture.mask.empty() || request.picture.area_padding_px;
  if (wants_hires(request) && draws_part)
    return "a second run is of whole pictures; leave out the mask, or the second run";
  if (request.boxes.size() > std::size_t{kMaxBoxes}) {
    return std::to_string(request.boxes.size()) + " boxes; at most " + std::to_string(kMaxBoxes) +
           " are possible";
  }
  for (const Box& box : request.boxes) {
    const bool is_within = box.left_px >= 0 && box.top_px >= 0 && box.width_px >= 1 &&
                           box.height_px >= 1 && box.left_px <= kMaxSidePx &&
                           box.top_px <= kMaxSidePx && box.width_px <= kMaxSidePx &&
                           box.height_px <= kMaxSidePx;
    if (!is_within) return "a box must be left,top,width,height in pixels of the picture";
  }
  return {};
}

/// The same of the picture to begin with.
std::string problem_of_picture(const PictureInput& picture) {
  const auto pixels = [](int side) { return static_cast<std::size_t>(std::max(side, 0)); };
  const Image& image = picture.image;
  if (image.rgb.size() != 3 * pixels(image.width_px) * pixels(image.height_px)) {
    return "the picture of " + std::to_string(image.width_px) + "x" +
           std::to_string(image.height_px) + " pixels has " + std::to_string(image.rgb.size()) +
           " bytes; 3 a pixel are needed";
  }
  if (!picture.mask.empty() && picture.mask.size() != image.rgb.size() / 3) {
    return "the mask has " + std::to_string(picture.mask.size()) +
           " bytes; one a pixel of the picture is needed, which is " +
           std::to_string(image.width_px) + "x" + std::to_string(image.height_px);
  }
  if (picture.area_padding_px && (picture.mask.empty() || *picture.area_padding_px < 0))
    return "to draw a part of a picture needs a mask, and a padding of at least 0";
  if (!(picture.strength > 0.0 && picture.strength <= 1.0)) {
    return "the strength is " + std::to_string(picture.strength) +
           "; it must be above 0 and at most 1, which makes a picture from text alone";
  }
  return {};
}

}  // namespace

json RequestOption::limit(double bound) const {
  return is_whole() ? json(static_cast<int>(bound)) : json(bound);
}

bool RequestOption::is_open(const Request& request) const {
  return std::visit(Overloaded{[&](int Request::*field) { return request.*field == 0; },
                               [&](std::optional<double> Request::*field) {
                                 return !(request.*field).has_value();
                               }},
                    member);
}

json RequestOption::get(const Request& request) const {
  if (is_open(request)) return nullptr;
  return std::visit(
      Overloaded{[&](int Request::*field) { return json(request.*field); },
                 [&](std::optional<double> Request::*field) { return json(*(request.*field)); }},
      member);
}

void RequestOption::set(Request& request, double value) const {
  std::visit(Overloaded{[&](int Request::*field) { request.*field = static_cast<int>(value); },
                        [&](std::optional<double> Request::*field) { request.*field = value; }},
             member);
}

std::span<const RequestOption> request_options() { return kOptions; }

const RequestOption& request_option(std::string_view name) {
  return *std::ranges::find_if(kOptions,
                               [&](const RequestOption& option) { return option.name() == name; });
}

json adapters_json(std::span<const Adapter> adapters) {
  json list = json::array();
  for (const Adapter& adapter : adapters) {
    list.push_back({{"name", adapter.path}, {"strength", adapter.strength}});
    if (adapter.prompt >= 0) list.back()["prompt"] = adapter.prompt;
  }
  return list;
}

std::vector<Adapter> read_adapters(const JsonReader& reader, const std::string& key, int prompts) {
  const auto most = static_cast<std::size_t>(kMaxAdapters) * static_cast<std::size_t>(prompts);
  std::vector<Adapter> adapters;
  for (const JsonReader& fields : reader.objects(key, most)) {
    const int prompt = fields.has("prompt") ? fields.small("prompt", 0, prompts - 1) : -1;
    adapters.push_back({fields.text("name"),
                        fields.number("strength", -kMaxAdapterStrength, kMaxAdapterStrength),
                        prompt});
  }
  return adapters;
}

void write_runs(const Request& request, json& object) {
  if (!request.variation_seeds.empty()) object["variation_seeds"] = request.variation_seeds;
  if (request.boxes.empty()) return;
  json boxes = json::array();
  for (const Box& box : request.boxes)
    boxes.push_back({box.left_px, box.top_px, box.width_px, box.height_px});
  object["boxes"] = std::move(boxes);
  object["boxes_strength"] = request.picture.strength;
}

void read_runs(const JsonReader& reader, Request& request) {
  if (reader.has("variation_seeds"))
    request.variation_seeds = reader.seeds("variation_seeds", kMaxImages);
  request.boxes = read_boxes(reader, "boxes");
  if (!request.boxes.empty()) request.picture.strength = reader.number("boxes_strength", 0, 1);
}

std::vector<Box> read_boxes(const JsonReader& reader, const std::string& key) {
  constexpr const char* kExpected = "a list of boxes: four whole numbers, left, top, width, height";
  std::vector<Box> boxes;
  const json* const list = reader.find(key);
  if (list == nullptr) return boxes;
  if (!list->is_array() || list->size() > std::size_t{kMaxBoxes}) reader.fail(key, kExpected);
  for (const json& sides : *list) {
    if (!sides.is_array() || sides.size() != 4) reader.fail(key, kExpected);
    int values[4];
    for (std::size_t i = 0; i < 4; ++i) {
      const std::optional<std::int64_t> value = whole_number(sides[i]);
      if (!value || *value < (i < 2 ? 0 : 1) || *value > kMaxSidePx) reader.fail(key, kExpected);
      values[i] = static_cast<int>(*value);
    }
    boxes.push_back({values[0], values[1], values[2], values[3]});
  }
  return boxes;
}

json options_json(const Request& request, Naming naming) {
  json object = json::object();
  for (const RequestOption& option : kOptions) {
    if (!option.is_open(request)) object[option.name(naming)] = option.get(request);
  }
  return object;
}

void read_options(const JsonReader& reader, Naming naming, bool may_be_open, Request& request) {
  for (const RequestOption& option : kOptions) {
    const char* key = option.name(naming);
    if ((may_be_open || option.may_stay_open) && !reader.has(key)) continue;
    const auto integer = [&] {
      return reader.small(key, static_cast<int>(option.min), static_cast<int>(option.max));
    };
    option.set(request, option.is_whole() ? integer() : reader.number(key, option.min, option.max));
  }
}

json request_json(const Request& request) {
  json object = options_json(request);
  object["prompts"] = request.prompts;
  object["negative_prompts"] = request.negative_prompts;
  object["num_images_per_prompt"] = request.num_images_per_prompt;
  object["seeds"] = request.seeds;
  write_runs(request, object);
  if (!request.adapters.empty()) object["adapters"] = adapters_json(request.adapters);
  return object;
}

Request read_request(const JsonReader& reader) {
  Request request;
  read_options(reader, Naming::full, false, request);
  request.prompts = reader.texts("prompts", kMaxImages);
  request.negative_prompts = reader.texts("negative_prompts", kMaxImages);
  request.num_images_per_prompt = reader.small("num_images_per_prompt", 1, kMaxImages);
  request.seeds = reader.seeds("seeds", kMaxImages);
  read_runs(reader, request);
  request.adapters = read_adapters(reader, "adapters", static_cast<int>(request.prompts.size()));
  check_request(request, ErrorKind::corrupt_file, reader.where() + ": ");
  return request;
}

Request with_defaults(Request request, const Request& defaults) {
  const Image& image = request.picture.image;
  if (!image.rgb.empty() && !request.picture.area_padding_px) {
    if (request.width_px == 0) request.width_px = image.width_px;
    if (request.height_px == 0) request.height_px = image.height_px;
  }
  for (const RequestOption& option : kOptions) {
    if (!option.is_open(request)) continue;
    std::visit([&](auto field) { request.*field = defaults.*field; }, option.member);
  }
  return request;
}

void check_request(const Request& request, ErrorKind kind, const std::string& where) {
  for (const RequestOption& option : kOptions) {
    const std::string problem = problem_of(option, request);
    if (!problem.empty()) throw Error(kind, where + problem);
  }
  for (const std::string& problem : {problem_of_counts(request), problem_of_runs(request),
                                     problem_of_picture(request.picture)}) {
    if (!problem.empty()) throw Error(kind, where + problem);
  }
}

std::string nearest_sides(int side_px, int multiple_px) {
  const int most = kMaxSidePx / multiple_px * multiple_px;
  const int below = std::min(side_px / multiple_px * multiple_px, most);
  if (below < multiple_px) return std::to_string(multiple_px);
  if (below == most) return std::to_string(most);
  return std::to_string(below) + " and " + std::to_string(below + multiple_px);
}

void check_sides(const Request& request, int multiple_px) {
  const auto problem = [multiple_px](const std::string& name, int side) -> std::string {
    if (side < multiple_px || side > kMaxSidePx)
      return name + " " + std::to_string(side) + " is out of range; " +
             std::to_string(multiple_px) + " to " + std::to_string(kMaxSidePx) +
             " pixels are possible";
    if (side % multiple_px == 0) return "";
    return name + " " + std::to_string(side) + " does not divide by " +
           std::to_string(multiple_px) + "; the nearest valid sizes are " +
           nearest_sides(side, multiple_px);
  };
  const std::string height = problem("height", request.height_px);
  const std::string width = problem("width", request.width_px);
  if (height.empty() && width.empty()) return;
  throw Error(ErrorKind::invalid_argument,
              height + (height.empty() || width.empty() ? "" : "; ") + width);
}

bool wants_hires(const Request& request) {
  return request.hires_scale.has_value() || request.hires_width_px != 0;
}

std::pair<int, int> hires_size(const Request& request, int multiple_px) {
  if (request.hires_width_px != 0) return {request.hires_width_px, request.hires_height_px};
  const auto scaled = [&](int side) {
    const double multiples = side * request.hires_scale.value_or(1) / multiple_px;
    return std::max(1, static_cast<int>(std::lround(multiples))) * multiple_px;
  };
  return {scaled(request.width_px), scaled(request.height_px)};
}

int image_count(const Request& request) {
  return static_cast<int>(request.prompts.size()) * request.num_images_per_prompt;
}

const std::string& prompt_of(const Request& request, int index) {
  return request.prompts[static_cast<std::size_t>(index / request.num_images_per_prompt)];
}

std::string negative_prompt_of(const Request& request, int index) {
  const auto& all = request.negative_prompts;
  if (all.empty()) return "";
  return all.size() == 1 ? all[0]
                         : all[static_cast<std::size_t>(index / request.num_images_per_prompt)];
}

std::uint64_t seed_of(const Request& request, int index) {
  return request.seeds.size() == 1 ? request.seeds[0]
                                   : request.seeds[static_cast<std::size_t>(index)];
}

}  // namespace ernie_image
