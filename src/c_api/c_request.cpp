#include "c_api/c_request.h"

#include <algorithm>
#include <cmath>

#include "c_api/sized_struct.h"
#include "core/enum_names.h"
#include "ernie_image/c.h"
#include "request/request.h"

namespace ernie_image::c_api {
namespace {

/// A list of structs, which may be larger or smaller than ours.
template <class Struct>
std::vector<Struct> read_structs(const Struct* given, std::size_t count, const std::string& what) {
  std::vector<Struct> read;
  const std::size_t stride = count == 0 ? 0 : struct_size(given, ("list of " + what).c_str());
  for (std::size_t i = 0; i < count; ++i) {
    read.push_back(read_struct(
        reinterpret_cast<const Struct*>(reinterpret_cast<const char*>(given) + i * stride),
        what.c_str()));
    if (read.back().struct_size != stride) {
      throw Error(ErrorKind::invalid_argument,
                  what + " " + std::to_string(i) + " has another size than the first");
    }
  }
  return read;
}

std::vector<TextStates> read_states(const ernie_image_text_states* given, std::size_t count) {
  constexpr std::size_t kMostTokens = 1 << 17, kMostWidth = 1 << 16;
  if (count > std::size_t{kMaxImages}) {
    throw Error(ErrorKind::invalid_argument, std::to_string(count) + " text states; at most " +
                                                 std::to_string(kMaxImages) + " are possible");
  }
  std::vector<TextStates> states;
  for (const auto& c : read_structs(given, count, "text states")) {
    if (c.tokens > kMostTokens || c.width > kMostWidth) {
      throw Error(ErrorKind::invalid_argument, "text states of " + std::to_string(c.tokens) +
                                                   " tokens of " + std::to_string(c.width) +
                                                   " are more than any model takes");
    }
    states.push_back(
        {read_numbers(c.values, c.tokens * c.width, "text states"), static_cast<int>(c.tokens)});
    require_finite(states.back().values, "text states");
  }
  return states;
}

std::vector<Adapter> read_adapters(const ernie_image_adapter* given, std::size_t count) {
  constexpr std::size_t kMost = std::size_t{kMaxAdapters} * kMaxImages;
  if (count > kMost) {
    throw Error(ErrorKind::invalid_argument, std::to_string(count) + " adapters; at most " +
                                                 std::to_string(kMaxAdapters) +
                                                 " a prompt are possible");
  }
  std::vector<Adapter> adapters;
  for (const auto& adapter : read_structs(given, count, "adapter")) {
    if (adapter.path == nullptr) {
      throw Error(ErrorKind::invalid_argument,
                  "adapter " + std::to_string(adapters.size()) + " has no path");
    }
    adapters.push_back({adapter.path, adapter.strength, adapter.prompt});
  }
  return adapters;
}

PictureInput read_picture(const ernie_image_request& c) {
  PictureInput picture;
  if (c.strength != 0) picture.strength = c.strength;
  picture.strength_mode = read_name(c.strength_mode, picture.strength_mode, "strength mode",
                                    all_names<StrengthMode>(", "),
                                    [](const char* name) { return from_name<StrengthMode>(name); });
  if (c.image == nullptr) {
    if (c.mask != nullptr || c.mask_count != 0 || c.masked_area_only != 0)
      throw Error(ErrorKind::invalid_argument, "there is a mask, and no image that it is of");
    return picture;
  }
  picture.image = read_image(c.image, "image");
  const std::size_t pixels = picture.image.rgb.size() / 3;
  if (c.mask_count != 0 && c.mask_count != pixels) {
    throw Error(ErrorKind::invalid_argument, "the mask has " + std::to_string(c.mask_count) +
                                                 " bytes; the image has " + std::to_string(pixels) +
                                                 " pixels, and needs one each");
  }
  picture.mask = read_numbers(c.mask, c.mask_count, "bytes of a mask");
  if (c.masked_area_only != 0)
    picture.area_padding_px = read_count(c.mask_padding_px, kMaxSidePx, "the mask's padding");
  picture.puts_back = c.drawn_as_it_is == 0;
  return picture;
}

std::vector<Box> read_boxes(const ernie_image_request& c) {
  if (c.box_count > std::size_t{kMaxBoxes}) {
    throw Error(ErrorKind::invalid_argument, std::to_string(c.box_count) + " boxes; at most " +
                                                 std::to_string(kMaxBoxes) + " are possible");
  }
  const auto sides = read_numbers(c.boxes, 4 * c.box_count, "sides of boxes");
  std::vector<Box> boxes;
  for (std::size_t i = 0; i < sides.size(); i += 4)
    boxes.push_back({sides[i], sides[i + 1], sides[i + 2], sides[i + 3]});
  return boxes;
}

/// Seeds, one or one an image.
std::vector<std::uint64_t> read_seeds(const std::uint64_t* seeds, std::size_t count) {
  if (count > std::size_t{kMaxImages}) {
    throw Error(ErrorKind::invalid_argument, std::to_string(count) +
                                                 " seeds; give one, or one an image, of which " +
                                                 std::to_string(kMaxImages) + " are possible");
  }
  return read_numbers(seeds, count, "seeds");
}

/// What is drawn after the first run, and variations of its noise.
void read_runs(const ernie_image_request& c, Request& request) {
  request.variation_seeds = read_seeds(c.variation_seeds, c.variation_seed_count);
  if (c.variation_strength != 0) request.variation_strength = c.variation_strength;
  if (c.hires_scale != 0) request.hires_scale = c.hires_scale;
  request.hires_width_px = c.hires_width_px;
  request.hires_height_px = c.hires_height_px;
  if (c.hires_strength != 0) request.hires_strength = c.hires_strength;
  request.hires_steps = c.hires_steps;
  request.boxes = read_boxes(c);
}

/// How many values latents of the request have; 0 if there can be none.
std::size_t latent_count(const Request& asked, const ModelInfo& info) {
  const Request request = with_defaults(asked, info.defaults);
  check_request(request);
  const int factor = info.size_multiple_px;
  if (request.height_px % factor != 0 || request.width_px % factor != 0) return 0;
  return static_cast<std::size_t>(image_count(request)) *
         static_cast<std::size_t>(info.latent_channels) *
         static_cast<std::size_t>(request.height_px / factor) *
         static_cast<std::size_t>(request.width_px / factor);
}

/// Nothing is read of latents of a wrong number.
std::vector<float> read_latents(const ernie_image_request& c, const Request& request,
                                const ModelInfo& info) {
  const std::size_t expected = latent_count(request, info);
  if (expected == 0) return {};  // refused for its size
  if (c.latent_count != expected) {
    throw Error(ErrorKind::invalid_argument,
                "the given latents have " + std::to_string(c.latent_count) +
                    " values; this request needs " + std::to_string(expected));
  }
  auto latents = read_numbers(c.latents, c.latent_count, "latents");
  require_finite(latents);
  return latents;
}

}  // namespace

Image read_image(const ernie_image_image* given, const char* what) {
  const auto c = read_struct(given, what);
  if (c.rgb == nullptr || c.height_px < 1 || c.width_px < 1 || c.height_px > kMaxSidePx ||
      c.width_px > kMaxSidePx) {
    throw Error(ErrorKind::invalid_argument, std::string("the ") + what +
                                                 " has no pixels, or is larger than " +
                                                 std::to_string(kMaxSidePx) + " pixels a side");
  }
  const std::size_t bytes =
      static_cast<std::size_t>(c.height_px) * static_cast<std::size_t>(c.width_px) * 3;
  return {c.width_px, c.height_px, {c.rgb, c.rgb + bytes}};
}

void require_finite(std::span<const float> values, const std::string& what) {
  const auto wrong =
      std::ranges::find_if(values, [](float value) { return !std::isfinite(value); });
  if (wrong == values.end()) return;
  throw Error(ErrorKind::invalid_argument, "the " + what + " have " + std::to_string(*wrong) +
                                               " at " + std::to_string(wrong - values.begin()) +
                                               "; they must be finite");
}

Call::Call(const ernie_image_request* given, PipelineObject& object)
    : c_(read_struct(given, "request")), object_(object) {
  request_.prompts = read_texts(c_.prompts, c_.prompt_count, kMaxImages, "prompts");
  request_.negative_prompts =
      read_texts(c_.negative_prompts, c_.negative_prompt_count, kMaxImages, "negative prompts");
  request_.prompt_states = read_states(c_.prompt_states, c_.prompt_state_count);
  request_.negative_prompt_states =
      read_states(c_.negative_prompt_states, c_.negative_prompt_state_count);
  if (request_.prompts.empty()) request_.prompts.resize(request_.prompt_states.size());
  request_.height_px = c_.height_px;
  request_.width_px = c_.width_px;
  request_.num_inference_steps = c_.num_inference_steps;
  if (c_.guidance_scale != 0) request_.guidance_scale = c_.guidance_scale;
  if (c_.num_images_per_prompt != 0) request_.num_images_per_prompt = c_.num_images_per_prompt;
  if (c_.seed_count != 0) request_.seeds = read_seeds(c_.seeds, c_.seed_count);
  request_.adapters = c_api::read_adapters(c_.adapters, c_.adapter_count);
  request_.decode = c_.latents_only == 0;
  request_.picture = read_picture(c_);
  c_api::read_runs(c_, request_);
  if (c_.latents != nullptr || c_.latent_count != 0)
    request_.latents = c_api::read_latents(c_, request_, object.pipeline.info());
}

Request Call::with_callbacks(std::shared_ptr<CancelToken> token) {
  token_ = std::move(token);
  Request request = request_;
  request.cancel = token_;
  if (c_.on_progress != nullptr)
    request.on_progress = [this](const Progress& progress) { tell_progress(progress); };
  if (c_.on_step != nullptr || !request.decode)
    request.on_step = [this](const StepLatents& step) { tell_step(step); };
  return request;
}

void Call::take_latents(ResultObject& result) {
  if (request_.decode) return;
  result.latents = std::move(latents_);
  result.shape = shape_;
}

void Call::teach_previews(const std::vector<Image>& images) {
  // A later run, or what a mask keeps, makes pictures that are not those of the first run's
  // latents.
  const bool are_drawn_once = request_.boxes.empty() && !wants_hires(request_);
  if (!wants_previews() || !are_drawn_once || !request_.picture.mask.empty()) return;
  const std::size_t size = latents_.size() / std::max<std::size_t>(images.size(), 1);
  for (std::size_t i = 0; i < images.size(); ++i)
    object_.preview->learn(std::span(latents_).subspan(i * size, size), images[i]);
}

void Call::stop_if(std::int32_t answer) {
  if (answer != 0) token_->request();
  token_->throw_if_requested();
}

void Call::tell_progress(const Progress& progress) {
  const ernie_image_progress told = {sizeof told, static_cast<std::int32_t>(progress.stage),
                                     progress.step, progress.steps, progress.stage_seconds};
  stop_if(c_.on_progress(c_.user_data, &told));
}

void Call::draw_previews(const StepLatents& step, ernie_image_step& told) {
  const std::size_t images = static_cast<std::size_t>(step.shape[0]);
  const std::size_t size = step.latents.size() / images;
  std::vector<float> finished(size);
  previews_.clear();
  for (std::size_t image = 0; image < images; ++image) {
    for (std::size_t i = 0; i < size; ++i) {
      finished[i] =
          step.latents[image * size + i] - step.sigma_next * step.velocity[image * size + i];
    }
    const Image drawn = object_.preview->draw(finished, static_cast<int>(step.shape[2]),
                                              static_cast<int>(step.shape[3]));
    previews_.insert(previews_.end(), drawn.rgb.begin(), drawn.rgb.end());
    told.preview_height_px = drawn.height_px;
    told.preview_width_px = drawn.width_px;
  }
  told.preview_rgb = previews_.data();
}

void Call::tell_step(const StepLatents& step) {
  if (c_.on_step != nullptr) {
    ernie_image_step told = {};
    told.struct_size = sizeof told;
    told.step = step.step;
    told.steps = step.steps;
    told.timestep = step.timestep;
    told.sigma = step.sigma;
    told.sigma_next = step.sigma_next;
    std::ranges::copy(step.shape, told.shape);
    told.latents = step.latents.data();
    told.latent_count = step.latents.size();
    if (wants_previews()) draw_previews(step, told);
    stop_if(c_.on_step(c_.user_data, &told));
    require_finite(step.latents);
  }
  if ((request_.decode && !wants_previews()) || step.step + 1 < step.steps) return;
  latents_.assign(step.latents.begin(), step.latents.end());
  shape_ = step.shape;
}

}  // namespace ernie_image::c_api
