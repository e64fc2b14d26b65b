// Pipeline::load and Pipeline::generate: the order of work, from prompts to pictures.
// Reference: diffusers pipeline_ernie_image.py, ErnieImagePipeline.__call__.
#include "ernie_image/pipeline.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "adapters/adapter_attachment.h"
#include "adapters/adapter_store.h"
#include "backend/parallel.h"
#include "backend/registry.h"
#include "checkpoint/model.h"
#include "core/byte_counts.h"
#include "enhance/prompt_enhancer.h"
#include "memory/memory_limit.h"
#include "memory/memory_sampler.h"
#include "memory/weight_residency.h"
#include "pipeline/adapter_targets.h"
#include "pipeline/card_group.h"
#include "pipeline/further_runs.h"
#include "pipeline/generation.h"
#include "pipeline/picture_area.h"
#include "pipeline/rehearsal.h"
#include "pipeline/replicas.h"
#include "pipeline/resolve_request.h"
#include "pipeline/stage_recorder.h"
#include "pipeline/stopwatch.h"
#include "request/request.h"

namespace ernie_image {
namespace {

/// Detaches the caller's cancel token from the backend when the run ends, however it ends.
class CancelScope {
 public:
  CancelScope(Backend& ops, std::shared_ptr<const CancelToken> token) : ops_(ops) {
    ops_.set_cancel_token(std::move(token));
  }
  ~CancelScope() { ops_.set_cancel_token(nullptr); }
  CancelScope(const CancelScope&) = delete;
  CancelScope& operator=(const CancelScope&) = delete;

 private:
  Backend& ops_;
};

/// For as long as a card shares the tokens of pictures.
class TokenScope {
 public:
  TokenScope(Transformer& transformer, Collective* group) : transformer_(transformer) {
    transformer_.share_tokens(group);
  }
  ~TokenScope() { transformer_.share_tokens(nullptr); }
  TokenScope(const TokenScope&) = delete;
  TokenScope& operator=(const TokenScope&) = delete;

 private:
  Transformer& transformer_;
};

BackendOptions backend_options(const LoadOptions& options) {
  return {options.device, options.num_threads, options.cpu_kernels, options.device_options};
}

/// Tensors the released folders hold although the image path never reads them.
bool is_known_extra(std::string_view name) {
  for (const std::string_view part : {"vision_tower.", "multi_modal_projector.", "encoder.",
                                      "quant_conv.", "bn.num_batches_tracked", "lm_head."}) {
    if (name.starts_with(part) || name.starts_with("model." + std::string(part))) return true;
  }
  return name.starts_with("language_model.") || name.starts_with("model.language_model.");
}

std::vector<std::string> unused_tensors(const ModelWeights& weights) {
  std::vector<std::string> names;
  for (const WeightFiles* files : {&weights.text_encoder, &weights.transformer, &weights.vae}) {
    std::ranges::copy_if(files->unused(), std::back_inserter(names),
                         [](const std::string& name) { return !is_known_extra(name); });
  }
  return names;
}

AdapterUse use_of(const ActiveAdapter& active) {
  const LoadedAdapter& adapter = *active.adapter;
  const AdapterMatch& match = adapter.match;
  return {adapter.file.path().name,
          adapter.sha256,
          active.strength,
          static_cast<int>(match.keys),
          static_cast<int>(match.used_keys()),
          match.unmatched};
}

/// A mask that keeps all of the picture has no part to be drawn; drawing all of it changes nothing.
PixelBox area_or_all(const Request& request) {
  const PixelBox area = picture_area(request);
  const Image& image = request.picture.image;
  return area.width > 0 ? area : PixelBox{0, 0, image.width_px, image.height_px};
}

/// A quantised copy of the transformer's layers must fit; a card rounds to int8 itself, in its own
/// memory.
void require_copy_fits(const Backend& ops, const ModelConfigs& configs, const ModelWeights& weights,
                       Quantization quantization) {
  if (quantization == Quantization::none) return;
  const bool is_on_card = ops.device_memory().has_value();
  if (is_on_card && quantization == Quantization::int8) return;
  const std::uint64_t needed = quantized_copy_bytes(ops, configs, weights, quantization);
  const std::uint64_t available = available_memory_bytes();
  if (needed <= available) return;
  throw Error(ErrorKind::out_of_memory,
              "the quantised weights of the transformer need " + binary_size(needed) + " and " +
                  binary_size(available) +
                  " is available; use --quant int4, or --quant none, which maps the weights from "
                  "their file");
}

/// Tensors can be looked at in one run on one card.
bool looks_inside(const Request& request) {
  return request.trace != nullptr || request.on_step || !request.decode ||
         !request.prompt_states.empty() || !request.negative_prompt_states.empty();
}

/// Such a run can be shared by several cards: what its transformer computes inside is then offered
/// to no trace, and a listener of steps could change the latents of one card alone.
bool can_be_shared(const Request& request) { return !request.on_step; }

Parallel parallel_of(const LoadOptions& options) {
  const DeviceOptions all = options_of_device(options.device, options.device_options);
  const auto found = all.find("parallel");
  return found == all.end() ? Parallel::pictures : parallel_mode(found->second);
}

/// The request of a card that works on the first one's pictures.
Request silent(const Request& request) {
  Request quiet = request;
  quiet.trace = nullptr;
  quiet.on_progress = nullptr;
  quiet.decode = false;
  return quiet;
}

}  // namespace

struct Pipeline::State {
  explicit State(const LoadOptions& options)
      : precision(options.precision),
        dtype(dtype_of(precision)),
        quantization(options.quantization),
        memory_limit_bytes(options.memory_limit_bytes),
        parallel(parallel_of(options)),
        kind(device_kind(options.device)),
        offload(offload_of_device(options.device, options.device_options)),
        backend(make_backend(backend_options(options))),
        model(*backend, resolve_model(options.model, options.parts), options.quantization, dtype,
              [&](const ModelConfigs& configs, const ModelWeights& weights) {
                require_copy_fits(*backend, configs, weights, options.quantization);
              }),
        targets(adapter_targets(model)),
        adapters(targets),
        transformer_adapters(*backend, model.weights.transformer, "", "transformer", dtype),
        text_encoder_adapters(*backend, model.weights.text_encoder,
                              TextEncoder::name_prefix(model.weights.text_encoder), "text_encoder",
                              dtype) {}

  Precision precision;
  DType dtype;  // of the tensors between operations
  Quantization quantization;
  std::uint64_t memory_limit_bytes;
  Parallel parallel;
  const DeviceKind& kind;
  std::string offload;
  std::unique_ptr<Backend> backend;
  Model model;
  ModelInfo info;
  std::vector<Pipeline> replicas;         // on the further cards
  std::map<Together, CardGroups> groups;  // connected when first needed; gone before the cards
  TextCache text_cache;
  AdapterTargets targets;
  AdapterStore adapters;
  AdapterAttachment transformer_adapters;
  AdapterAttachment text_encoder_adapters;

  Request with_model_defaults(const Request& request) const;
  Tensor noise_of(const Request& request) const;
  std::vector<Request> runs_to_check(const Request& request) const;
  Result generate_large(Pipeline& pipeline, const Request& request);
  Result generate_boxes(Pipeline& pipeline, const Request& request);
  std::vector<ActiveAdapter> open_adapters(const Request& request);
  void attach(const std::vector<ActiveAdapter>& active);
  Networks networks();
  CheckedPlan checked_plan(const Request& request, const std::vector<ActiveAdapter>& active) const;
  MemoryPlan plan_memory(const ResolvedRequest& generation, std::int64_t decoded_at_once,
                         std::uint64_t adapter_bytes) const;
  std::uint64_t resting_bytes() const;
  bool is_split(const Request& request) const;
  std::vector<Request> parts_of(const Request& request) const;
  std::vector<Request> parts_by_adapters(const Request& request) const;
  Result run(const Request& request, const SharedRun* shared = nullptr);
  Together together(const Request& request) const;
  void require_shareable(std::size_t cards) const;
  Result run_shared(const Request& request, Together how);
};

Pipeline::Pipeline(std::unique_ptr<State> state) : state_(std::move(state)) {}
Pipeline::Pipeline(Pipeline&&) noexcept = default;
Pipeline& Pipeline::operator=(Pipeline&&) noexcept = default;
Pipeline::~Pipeline() = default;

const ModelInfo& Pipeline::info() const { return state_->info; }

Pipeline Pipeline::load(const LoadOptions& options) {
  const Stopwatch watch;
  LoadOptions one_device = options;
  const std::vector<std::string> devices = split_device_list(options.device);
  one_device.device = devices.front();
  auto state = std::make_unique<State>(one_device);
  for (auto device = devices.begin() + 1; device != devices.end(); ++device) {
    one_device.device = *device;
    state->replicas.push_back(load(one_device));
  }
  const ModelConfigs& configs = state->model.configs;
  ModelInfo& info = state->info;
  info.path = state->model.folder.source;
  info.parts = state->model.folder.parts;
  info.notes = state->model.folder.notes;
  const auto& assumed = state->model.configs.notes;
  info.notes.insert(info.notes.end(), assumed.begin(), assumed.end());
  const std::vector<std::string> ignored = state->model.weights.notes();
  info.notes.insert(info.notes.end(), ignored.begin(), ignored.end());
  info.name = state->model.folder.name;
  info.content_hash = content_hash(state->model.folder);
  info.defaults = configs.defaults;
  info.size_multiple_px = static_cast<int>(configs.vae.spatial_factor);
  info.latent_channels = static_cast<int>(configs.transformer.in_channels);
  info.text_width = static_cast<int>(configs.transformer.text_in_dim);
  info.has_prompt_enhancer = state->model.folder.has_prompt_enhancer;
  info.unused_tensors = unused_tensors(state->model.weights);
  info.load_seconds = watch.seconds();
  return Pipeline(std::move(state));
}

EnhancedPrompt Pipeline::enhance(const std::string& prompt, int width_px, int height_px,
                                 const EnhanceOptions& options) {
  Backend& ops = *state_->backend;
  const CancelScope cancel(ops, options.cancel);
  MemorySampler sampler;
  const auto device = ops.device_memory();
  const std::uint64_t asked = state_->memory_limit_bytes;
  const std::uint64_t limit = !device ? total_memory_limit(asked)
                              : asked == 0
                                  ? device->free_bytes + device->held_bytes
                                  : std::min(asked, device->free_bytes + device->held_bytes);
  const std::uint64_t resting = device ? 0 : state_->resting_bytes();
  EnhancedPrompt enhanced;
  {
    const PromptEnhancer enhancer(ops, state_->model.folder, state_->dtype, options.quantization,
                                  limit - std::min(limit - 1, resting));
    ops.reset_peak_memory();
    enhanced = enhancer.enhance(prompt, width_px, height_px, options);
  }
  StageMemory& memory = enhanced.memory;
  memory.predicted_bytes += resting;
  memory.measured_bytes = device ? ops.device_memory()->peak_bytes : sampler.peak().total_bytes;
  ops.end_stage();
  ops.release_cache();
  return enhanced;
}

bool Pipeline::State::is_split(const Request& request) const {
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

std::vector<ActiveAdapter> Pipeline::State::open_adapters(const Request& request) {
  std::vector<ActiveAdapter> active;
  for (const Adapter& adapter : request.adapters) {
    active.push_back({adapters.open(adapter.path), adapter.strength});
  }
  return active;
}

/// What is attached stays until a request asks for something else.
void Pipeline::State::attach(const std::vector<ActiveAdapter>& active) {
  transformer_adapters.attach(model.transformer, active);
  if (text_encoder_adapters.attach(model.text_encoder, active)) text_cache = {};
}

/// What --parallel makes of the request.
Together Pipeline::State::together(const Request& request) const {
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
  require_shareable(how == Together::halves ? states.size() / 2 : states.size());
  if (kind.connect == nullptr)
    throw Error(ErrorKind::unsupported,
                "cards of " + kind.name + " cannot share a picture; take --parallel pictures");
  if (!groups.contains(how)) {
    std::vector<Backend*> cards;
    for (const State* state : states) cards.push_back(state->backend.get());
    groups.emplace(how, CardGroups(kind, cards, how == Together::halves));
  }
  const CardGroups& connected = groups.at(how);
  RankGate gate(states.size());
  FirstFailure failure;
  const Request quiet = silent(request);
  Result result;
  std::vector<std::function<void()>> ranks;
  for (std::size_t i = 0; i < states.size(); ++i) {
    ranks.emplace_back([&, i] {
      const SharedRun shared{gate, failure, request.cancel.get(), connected.tokens[i],
                             connected.halves[i]};
      const TokenScope scope(states[i]->model.transformer, shared.tokens.get());
      Result own = states[i]->run(i == 0 ? request : quiet, &shared);
      if (i == 0) result = std::move(own);
    });
  }
  try {
    run_ranks(gate, failure, ranks);
  } catch (...) {
    groups.erase(how);  // what failed may have left an operation half done
    throw;
  }
  return result;
}

/// All of the request on this card, or with `shared` its part of a run of several.
Result Pipeline::State::run(const Request& request, const SharedRun* shared) {
  Backend& ops = *backend;
  const std::vector<ActiveAdapter> active = open_adapters(request);
  const CheckedPlan checked = checked_plan(request, active);
  // Of several cards none may stop by itself: they agree on it between two steps.
  const CancelScope cancel(ops, shared == nullptr ? request.cancel : nullptr);
  attach(active);
  Result result;
  std::ranges::transform(active, std::back_inserter(result.adapters), use_of);
  StageRecorder recorder(ops, checked, result.memory);
  Generation generation(networks(), request, checked.generation, precision, shared);

  if (checked.generation.uses_picture) {
    recorder.begin("vae_encoder");
    generation.encode_picture(checked.memory.stage("vae_encoder").bands.band_bytes);
    recorder.finish("vae_encoder");
    model.weights.vae.release_pages();
  }
  recorder.begin("text_encoder");
  const Stopwatch text_watch;
  {
    const WeightFiles& weights = model.weights.text_encoder;
    WeightResidency residency(weights, TextEncoder::layer_prefix(weights),
                              checked.pages("text_encoder"));
    const ListeningScope listening(model.text_encoder, residency);
    generation.encode(text_cache);
  }
  recorder.finish("text_encoder");

  recorder.begin("transformer");
  {
    WeightResidency residency(model.weights.transformer, Transformer::kLayerPrefix,
                              checked.pages("transformer"));
    const ListeningScope listening(model.transformer, residency);
    generation.prepare();
    result.timings.text_encoder_seconds = text_watch.seconds();
    generation.denoise(result.timings);
  }
  recorder.finish("transformer");

  if (request.decode) {
    ops.set_cancel_token(request.cancel);
    recorder.begin("vae");
    const Stopwatch vae_watch;
    result.images = generation.decode(decoded_at_once(request, checked.generation),
                                      checked.memory.stage("vae").bands);
    result.timings.vae_decoder_seconds = vae_watch.seconds();
    recorder.finish("vae");
    model.weights.vae.release_pages();
  }
  ops.release_cache();
  for (const auto& ids : checked.generation.prompt_ids)
    result.prompt_tokens.push_back(static_cast<int>(ids.size()));
  result.peak_activation_bytes = recorder.peak_activation_bytes();
  return result;
}

std::vector<Image> Pipeline::decode(const std::vector<float>& latents, int height_px,
                                    int width_px) {
  const ModelInfo& model = state_->info;
  const int factor = model.size_multiple_px;
  const bool fits =
      height_px > 0 && width_px > 0 && height_px % factor == 0 && width_px % factor == 0;
  const std::size_t values = fits ? static_cast<std::size_t>(model.latent_channels) *
                                        static_cast<std::size_t>(height_px / factor) *
                                        static_cast<std::size_t>(width_px / factor)
                                  : 0;
  if (values == 0 || latents.empty() || latents.size() % values != 0) {
    throw Error(ErrorKind::invalid_argument,
                std::to_string(latents.size()) + " latents are no picture of " +
                    std::to_string(width_px) + "x" + std::to_string(height_px));
  }
  Tensor batch =
      Tensor::host(DType::f32, {std::int64_t(latents.size() / values), model.latent_channels,
                                height_px / factor, width_px / factor});
  std::ranges::copy(latents, batch.data<float>());
  PlanRequest planned;
  planned.height_px = height_px;
  planned.width_px = width_px;
  planned.text_tokens = 1;
  const MemoryPlan memory =
      state_->plan_memory(generation_of(planned, state_->model.configs), 1, 0);
  Backend& ops = *state_->backend;
  ops.begin_stage(stage_room(memory, memory.stage("vae")));
  std::vector<Image> images = decode_latents(state_->networks(), {}, round_to(batch, state_->dtype),
                                             1, memory.stage("vae").bands);
  ops.end_stage();
  ops.release_cache();
  state_->model.weights.vae.release_pages();
  return images;
}

Networks Pipeline::State::networks() {
  return {*backend,  model.configs,     model.text_encoder, model.transformer,
          model.vae, model.weights.vae, model.folder.name};
}

/// Of the host, or of a device with memory of its own: what this program holds there and what is
/// free.
MemoryPlan Pipeline::State::plan_memory(const ResolvedRequest& generation,
                                        std::int64_t decoded_at_once,
                                        std::uint64_t adapter_bytes) const {
  const GenerationRehearsal rehearsal(*backend, model.configs, model.weights, generation, precision,
                                      quantization, decoded_at_once);
  const auto device = backend->device_memory();
  if (!device) return rehearsal.on_host(memory_limit_bytes, adapter_bytes);
  std::uint64_t room = device->free_bytes + device->held_bytes;
  if (memory_limit_bytes != 0) room = std::min(memory_limit_bytes, room);
  return rehearsal.on_device(offload, room - std::min(room, adapter_bytes));
}

/// The plan of a request that can be served: its values are valid and its memory fits.
CheckedPlan Pipeline::State::checked_plan(const Request& request,
                                          const std::vector<ActiveAdapter>& active) const {
  CheckedPlan checked{resolve_request(request, model), {}, backend->device_memory().has_value()};
  checked.memory = plan_memory(
      checked.generation, decoded_at_once(request, checked.generation),
      transformer_adapters.memory(active).bytes + text_encoder_adapters.memory(active).bytes);
  require_fit(checked.memory, checked.is_on_device ? backend->name() : "memory");
  return checked;
}

/// On the host, between requests.
std::uint64_t Pipeline::State::resting_bytes() const {
  return GenerationRehearsal(*backend, model.configs, model.weights, {}, precision, quantization)
      .resting_bytes();
}

const char* version() { return ERNIE_IMAGE_VERSION; }

}  // namespace ernie_image
