// What runs a request consists of, and on which cards: parts by adapters, shares of replicas, runs
// that cards share, second runs, and the drawing of areas and boxes.
#include "pipeline/pipeline_state.h"

#include <algorithm>
#include <utility>

#include "pipeline/further_runs.h"
#include "pipeline/picture_area.h"
#include "pipeline/replicas.h"
#include "pipeline/resolve_request.h"
#include "request/request.h"

namespace ernie_image {
namespace {

/// For as long as a card shares the tokens of pictures, or its weights.
class SharingScope {
 public:
  SharingScope(Model& model, const SharedRun& run) : model_(model) {
    share(run.tokens.get(), run.weights.get());
  }
  ~SharingScope() { share(nullptr, nullptr); }
  SharingScope(const SharingScope&) = delete;
  SharingScope& operator=(const SharingScope&) = delete;

 private:
  void share(Collective* tokens, Collective* weights) {
    model_.transformer.share_tokens(tokens);
    model_.transformer.sum_over(weights);
    model_.text_encoder.sum_over(weights);
  }

  Model& model_;
};

/// A mask that keeps all of the picture has no part to be drawn; drawing all of it changes nothing.
PixelBox area_or_all(const Request& request) {
  const PixelBox area = picture_area(request);
  const Image& image = request.picture.image;
  return area.width > 0 ? area : PixelBox{0, 0, image.width_px, image.height_px};
}

/// Tensors can be looked at in one run on one card.
bool looks_inside(const Request& request) {
  return request.trace != nullptr || request.on_step || !request.decode ||
         !request.prompt_states.empty() || !request.negative_prompt_states.empty();
}

/// Such a run can be shared by several cards: what its transformer computes inside is then offered
/// to no trace, and a listener of steps could change the latents of one card alone.
bool can_be_shared(const Request& request) { return !request.on_step; }

/// The request of a card that works on the first one's pictures.
Request silent(const Request& request) {
  Request quiet = request;
  quiet.trace = nullptr;
  quiet.on_progress = nullptr;
  quiet.decode = false;
  return quiet;
}

}  // namespace

bool Pipeline::State::is_split(const Request& request) const {
  if (!share.is_all()) return false;
  const bool several = request.prompts.size() > 1 || request.num_images_per_prompt > 1;
  return several && !replicas.empty() && !looks_inside(request);
}

std::vector<Request> Pipeline::State::parts_of(const Request& request) const {
  return split_request(request, noise_of(request).span<float>(), replicas.size() + 1);
}

/// One for each run of prompts with the same adapters.
std::vector<Request> Pipeline::State::parts_by_adapters(const Request& request) const {
  std::vector<Request> parts = split_by_adapters(request, noise_of(request).span<float>());
  if (parts.size() > 1 && looks_inside(request)) {
    throw Error(ErrorKind::invalid_argument,
                "prompts with different adapters are run one after another, of which no tensors "
                "can be kept together; ask for one at a time");
  }
  return parts;
}

void Pipeline::check(const Request& request) const {
  if (wants_hires(request) || !request.boxes.empty()) {
    for (const Request& run : state_->runs_to_check(request)) check(run);
    return;
  }
  if (request.picture.area_padding_px) {
    const Request sized = state_->with_model_defaults(request);
    check(area_request(sized, area_or_all(sized)));
    return;
  }
  if (names_prompts(request)) {
    for (const Request& part : state_->parts_by_adapters(request)) check(part);
    return;
  }
  if (!state_->is_split(request)) {
    state_->checked_plan(request, state_->open_adapters(request));
    return;
  }
  for (const Request& part : state_->parts_of(request))
    state_->checked_plan(part, state_->open_adapters(part));
}

Result Pipeline::generate(const Request& request) {
  State& state = *state_;
  if (!request.boxes.empty()) return state.generate_boxes(*this, request);
  if (wants_hires(request)) return state.generate_large(*this, request);
  if (request.picture.area_padding_px) {
    const Request sized = state.with_model_defaults(request);
    const PixelBox area = area_or_all(sized);
    Result result = generate(area_request(sized, area));
    for (Image& image : result.images) image = with_area(sized, area, image);
    return result;
  }
  if (names_prompts(request)) {
    std::vector<Result> results;
    for (const Request& part : state.parts_by_adapters(request)) results.push_back(generate(part));
    return join_in_turn(request, std::move(results));
  }
  if (const Together how = state.together(request); how != Together::none)
    return state.run_shared(request, how);
  if (!state.is_split(request)) return state.run(request);
  const std::vector<Request> parts = state.parts_of(request);
  std::vector<std::function<Result()>> runs = {[&] { return state.run(parts.front()); }};
  for (std::size_t i = 1; i < parts.size(); ++i)
    runs.emplace_back([&, i] { return state.replicas[i - 1].generate(parts[i]); });
  return join_results(request, run_together(runs));
}

/// The pictures, and then each of them once more, larger.
Result Pipeline::State::generate_large(Pipeline& pipeline, const Request& request) {
  pipeline.check(request);
  const Request sized = with_model_defaults(request);
  const Request large = large_request(sized, info.size_multiple_px);
  Result first = pipeline.generate(first_run(sized));
  const Tensor noise = noise_of(large);
  std::vector<Result> further;
  std::vector<Image> images;
  for (int i = 0; i < image_count(sized); ++i) {
    further.push_back(pipeline.generate(large_run(large, sized, noise.span<float>(), i,
                                                  first.images[static_cast<std::size_t>(i)])));
    images.push_back(std::move(further.back().images.front()));
  }
  return joined(std::move(first), further, std::move(images));
}

/// The pictures, and then parts of them once more.
Result Pipeline::State::generate_boxes(Pipeline& pipeline, const Request& request) {
  pipeline.check(request);
  const Request sized = with_model_defaults(request);
  Result first;
  if (draws_boxes_only(sized)) {
    first.images.assign(static_cast<std::size_t>(image_count(sized)), sized.picture.image);
  } else {
    Request without = sized;
    without.boxes.clear();
    first = pipeline.generate(without);
  }
  std::vector<Result> further;
  std::vector<Image> images = std::move(first.images);
  for (int i = 0; i < image_count(sized); ++i) {
    Image& image = images[static_cast<std::size_t>(i)];
    for (const Box& box : sized.boxes) {
      further.push_back(pipeline.generate(box_run(sized, info.size_multiple_px, i, box, image)));
      image = std::move(further.back().images.front());
    }
  }
  return joined(std::move(first), further, std::move(images));
}

/// One of each kind of run that a request is made of; with pictures that nothing is in yet.
std::vector<Request> Pipeline::State::runs_to_check(const Request& request) const {
  const Request sized = with_model_defaults(request);
  std::vector<Request> runs;
  if (!draws_boxes_only(sized)) runs.push_back(first_run(sized));
  const auto blank = [](int width, int height) {
    const auto pixels = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    return Image{width, height, std::vector<std::uint8_t>(3 * pixels)};
  };
  Image picture =
      sized.picture.area_padding_px ? sized.picture.image : blank(sized.width_px, sized.height_px);
  if (wants_hires(sized)) {
    const Request large = large_request(sized, info.size_multiple_px);
    runs.push_back(large_run(large, sized, noise_of(large).span<float>(), 0, picture));
    picture = blank(large.width_px, large.height_px);
  }
  for (const Box& box : sized.boxes) {
    runs.push_back(box_run(sized, info.size_multiple_px, 0, box, picture));
  }
  return runs;
}

/// Of all pictures, [images, C, h, w] in float.
Tensor Pipeline::State::noise_of(const Request& request) const {
  return to_float(
      initial_noise(model.configs, request, resolve_request(request, model), precision));
}

/// Of one that is more than a single run.
Request Pipeline::State::with_model_defaults(const Request& request) const {
  check_request(request);
  return with_defaults(request, model.configs.defaults);
}

/// What --parallel makes of the request.
Together Pipeline::State::together(const Request& request) const {
  if (!share.is_all()) {
    if (can_be_shared(request)) return Together::weights;
    throw Error(ErrorKind::unsupported,
                "a listener of steps sees one card's latents, and no card has all weights; take "
                "--parallel-weights whole");
  }
  if (parallel == Parallel::pictures || replicas.empty() || !can_be_shared(request))
    return Together::none;
  const ResolvedRequest resolved = resolve_request(request, model);
  const auto cards = static_cast<std::int64_t>(replicas.size() + 1);
  const bool in_halves = resolved.guided && cards % 2 == 0;
  const std::int64_t each = in_halves ? cards / 2 : cards;
  const bool divides = model.configs.transformer.num_attention_heads % each == 0;
  if (parallel == Parallel::automatic) {
    if (resolved.images >= cards || !divides) return Together::none;
    return in_halves ? Together::halves : Together::tokens;
  }
  if (parallel == Parallel::guidance && in_halves) return Together::halves;
  if (parallel == Parallel::guidance && resolved.guided) {
    throw Error(
        ErrorKind::invalid_argument,
        "--parallel guidance wants an even number of cards; there are " + std::to_string(cards));
  }
  return Together::tokens;
}

void Pipeline::State::require_shareable(std::size_t cards) const {
  const std::int64_t heads = model.configs.transformer.num_attention_heads;
  if (heads % static_cast<std::int64_t>(cards) == 0) return;
  throw Error(ErrorKind::unsupported, std::to_string(cards) + " cards cannot share the " +
                                          std::to_string(heads) +
                                          " heads of attention evenly; take as many as divide it, "
                                          "or --parallel pictures");
}

/// All of the request on all cards.
Result Pipeline::State::run_shared(const Request& request, Together how) {
  std::vector<State*> states = {this};
  for (const Pipeline& replica : replicas) states.push_back(replica.state_.get());
  if (how != Together::weights)
    require_shareable(how == Together::halves ? states.size() / 2 : states.size());
  if (kind.connect == nullptr)
    throw Error(ErrorKind::unsupported,
                "cards of " + kind.name + " cannot share a picture; take --parallel pictures");
  if (!groups.contains(how)) {
    std::vector<Backend*> cards;
    for (const State* state : states) cards.push_back(state->backend.get());
    groups.emplace(how, CardGroups(kind, cards, how));
  }
  const CardGroups& connected = groups.at(how);
  RankGate gate(states.size());
  FirstFailure failure;
  const Request quiet = silent(request);
  Result result;
  std::vector<std::function<void()>> ranks;
  for (std::size_t i = 0; i < states.size(); ++i) {
    ranks.emplace_back([&, i] {
      const SharedRun shared{gate,
                             failure,
                             request.cancel.get(),
                             connected.tokens[i],
                             connected.halves[i],
                             connected.weights[i]};
      const SharingScope scope(states[i]->model, shared);
      Result own = states[i]->run(i == 0 ? request : quiet, &shared);
      if (i == 0) result = std::move(own);
    });
  }
  try {
    run_ranks(gate, failure, ranks);
  } catch (...) {
    groups.erase(how);  // what failed may have left an operation half done
    for (State* state : states) state->text_cache = {};  // all or none have a prompt's states
    throw;
  }
  return result;
}

}  // namespace ernie_image
