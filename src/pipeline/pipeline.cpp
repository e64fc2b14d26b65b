// Pipeline::load and Pipeline::generate: the order of work, from prompts to pictures.
// Reference: diffusers pipeline_ernie_image.py, ErnieImagePipeline.__call__.
#include "ernie_image/pipeline.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string_view>
#include <utility>

#include "adapters/adapter_attachment.h"
#include "adapters/adapter_store.h"
#include "backend/registry.h"
#include "checkpoint/model.h"
#include "core/trace.h"
#include "enhance/prompt_enhancer.h"
#include "memory/memory_sampler.h"
#include "memory/weight_residency.h"
#include "pipeline/adapter_targets.h"
#include "pipeline/plan.h"
#include "pipeline/replicas.h"
#include "pipeline/stage_recorder.h"
#include "pipeline/text_batch.h"
#include "sampling/guidance.h"
#include "sampling/random.h"

namespace ernie_image {
namespace {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

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

void record(Trace* trace, const std::string& name, const Tensor& host) {
  if (trace != nullptr && trace->wants(name)) trace->record(name, host);
}

Tensor float_tensor(const std::vector<float>& values) {
  return Tensor::copy_of<float>(DType::f32, {static_cast<std::int64_t>(values.size())}, values);
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

/// Pictures are decoded one at a time, but for a trace that looks at the decoder: every block is to
/// be recorded under its name once.
bool decodes_together(const Request& request) {
  return request.trace != nullptr && request.trace->wants("vae.output");
}

/// Host [B, H, W, C] to [B, C, H, W].
Tensor channels_first(const Tensor& images) {
  const std::int64_t pixels = images.dim(1) * images.dim(2), channels = images.dim(3);
  Tensor planes =
      Tensor::host(images.dtype(), {images.dim(0), channels, images.dim(1), images.dim(2)});
  const std::size_t size = size_of(images.dtype());
  for (std::int64_t b = 0; b < images.dim(0); ++b) {
    for (std::int64_t i = 0; i < pixels * channels; ++i) {
      const std::byte* source =
          images.bytes() + static_cast<std::size_t>(b * pixels * channels + i) * size;
      std::copy_n(source, size,
                  planes.bytes() + static_cast<std::size_t>((b * channels + i % channels) * pixels +
                                                            i / channels) *
                                       size);
    }
  }
  return planes;
}

}  // namespace

struct Pipeline::State {
  explicit State(const LoadOptions& options)
      : precision(options.precision),
        dtype(dtype_of(precision)),
        quantization(options.quantization),
        memory_limit_bytes(options.memory_limit_bytes),
        offload(offload_of_device(options.device, options.device_options)),
        backend(make_backend(backend_options(options))),
        model(*backend, resolve_model(options.model, options.parts), options.quantization, dtype),
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
  std::string offload;
  std::unique_ptr<Backend> backend;
  Model model;
  ModelInfo info;
  std::vector<Pipeline> replicas;  // on the further cards
  TextCache text_cache;
  AdapterTargets targets;
  AdapterStore adapters;
  AdapterAttachment transformer_adapters;
  AdapterAttachment text_encoder_adapters;

  std::vector<ActiveAdapter> open_adapters(const Request& request);
  void attach(const std::vector<ActiveAdapter>& active);
  CheckedPlan checked_plan(const Request& request, const std::vector<ActiveAdapter>& active) const;
  MemoryPlan resting_plan() const;
  bool is_split(const Request& request) const;
  std::vector<Request> parts_of(const Request& request) const;
  std::vector<Request> parts_by_adapters(const Request& request) const;
  Result run(const Request& request);
  TextBatch encode(const Request& request, const GenerationPlan& plan, const MemoryPlan& memory);
  Tensor initial_latents(const Request& request, const GenerationPlan& plan) const;
  Tensor denoise(const Request& request, const GenerationPlan& plan,
                 const TransformerContext& context, Tensor latents, Timings& timings) const;
  Tensor predict_velocity(const GenerationPlan& plan, const TransformerContext& context,
                          const Tensor& latents, float timestep, const std::string& step,
                          Trace* trace) const;
  std::vector<Image> decode(const Request& request, const Tensor& latents,
                            std::uint64_t limit_bytes) const;
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
  info.name = state->model.folder.name;
  info.content_hash = content_hash(state->model.folder);
  info.defaults = configs.defaults;
  info.size_multiple_px = static_cast<int>(configs.vae.spatial_factor);
  info.latent_channels = static_cast<int>(configs.transformer.in_channels);
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
  ops.reset_peak_memory();
  const MemoryPlan plan = state_->resting_plan();
  const auto device = ops.device_memory();
  const std::uint64_t room =
      device ? device->free_bytes + device->held_bytes : plan.enhancer_room_bytes();
  EnhancedPrompt enhanced;
  {
    const PromptEnhancer enhancer(ops, state_->model.folder, state_->dtype, options.quantization,
                                  room);
    enhanced = enhancer.enhance(prompt, width_px, height_px, options);
  }
  StageMemory& memory = enhanced.memory;
  if (!device) memory.predicted_bytes += plan.limit_bytes - plan.enhancer_room_bytes();
  memory.measured_bytes = device ? ops.device_memory()->peak_bytes : sampler.peak().total_bytes;
  ops.end_stage();
  ops.release_cache();
  return enhanced;
}

/// A trace is of one run on one card.
bool Pipeline::State::is_split(const Request& request) const {
  const bool several = request.prompts.size() > 1 || request.num_images_per_prompt > 1;
  return several && !replicas.empty() && request.trace == nullptr;
}

std::vector<Request> Pipeline::State::parts_of(const Request& request) const {
  const Tensor latents = to_float(initial_latents(request, plan_generation(request, model)));
  return split_request(request, latents.span<float>(), replicas.size() + 1);
}

/// One for each run of prompts with the same adapters.
std::vector<Request> Pipeline::State::parts_by_adapters(const Request& request) const {
  const Tensor latents = to_float(initial_latents(request, plan_generation(request, model)));
  std::vector<Request> parts = split_by_adapters(request, latents.span<float>());
  if (parts.size() > 1 && request.trace != nullptr) {
    throw Error(ErrorKind::invalid_argument,
                "prompts with different adapters are run one after another, of which no tensors "
                "can be kept together; ask for one at a time");
  }
  return parts;
}

void Pipeline::check(const Request& request) const {
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
  if (names_prompts(request)) {
    std::vector<Result> results;
    for (const Request& part : state.parts_by_adapters(request)) results.push_back(generate(part));
    return join_in_turn(request, std::move(results));
  }
  if (!state.is_split(request)) return state.run(request);
  const std::vector<Request> parts = state.parts_of(request);
  std::vector<std::function<Result()>> runs = {[&] { return state.run(parts.front()); }};
  for (std::size_t i = 1; i < parts.size(); ++i)
    runs.emplace_back([&, i] { return state.replicas[i - 1].generate(parts[i]); });
  return join_results(request, run_together(runs));
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

/// All of the request on this card.
Result Pipeline::State::run(const Request& request) {
  Backend& ops = *backend;
  const std::vector<ActiveAdapter> active = open_adapters(request);
  const CheckedPlan checked = checked_plan(request, active);
  const GenerationPlan& plan = checked.generation;
  const MemoryPlan& memory = checked.memory;
  const CancelScope cancel(ops, request.cancel);
  ops.reset_peak_memory();
  attach(active);
  Result result;
  std::ranges::transform(active, std::back_inserter(result.adapters), use_of);
  StageRecorder recorder(ops, checked, result.memory);

  recorder.begin("text_encoder");
  const Stopwatch text_watch;
  const TextBatch text = encode(request, plan, memory);
  recorder.finish("text_encoder");
  recorder.begin("transformer");
  Tensor latents;
  {
    WeightResidency residency(model.weights.transformer, Transformer::kLayerPrefix,
                              memory.stage("transformer").residency);
    const ListeningScope listening(model.transformer, residency);
    const TransformerContext context = model.transformer.prepare(
        text.text_bth, text.text_lens, plan.latent_height, plan.latent_width, request.trace);
    result.timings.text_encoder_seconds = text_watch.seconds();
    latents = denoise(request, plan, context, initial_latents(request, plan), result.timings);
  }
  ops.release_cache();
  recorder.finish("transformer");

  recorder.begin("vae");
  const Stopwatch vae_watch;
  result.images = decode(request, latents, memory.decode_limit_bytes);
  result.timings.vae_decoder_seconds = vae_watch.seconds();
  recorder.finish("vae");
  ops.release_cache();
  for (const auto& ids : plan.prompt_ids)
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
  const MemoryPlan memory = plan_memory(state_->model.configs, state_->model.weights,
                                        {1, 1, height_px, width_px, 1, state_->dtype,
                                         state_->memory_limit_bytes, state_->quantization});
  Tensor batch =
      Tensor::host(DType::f32, {std::int64_t(latents.size() / values), model.latent_channels,
                                height_px / factor, width_px / factor});
  std::ranges::copy(latents, batch.data<float>());
  std::vector<Image> images =
      state_->decode({}, round_to(batch, state_->dtype), memory.decode_limit_bytes);
  state_->backend->end_stage();
  state_->backend->release_cache();
  return images;
}

/// The plan of a request that can be served: its values are valid and its memory fits.
CheckedPlan Pipeline::State::checked_plan(const Request& request,
                                          const std::vector<ActiveAdapter>& active) const {
  GenerationPlan plan = plan_generation(request, model);
  PlanRequest memory{
      plan.images * (plan.guided ? 2 : 1),
      plan.images,
      plan.height_px,
      plan.width_px,
      0,
      dtype,
      memory_limit_bytes,
      quantization,
      transformer_adapters.memory(active).bytes + text_encoder_adapters.memory(active).bytes};
  for (const auto* group : {&plan.prompt_ids, &plan.negative_ids}) {
    for (const auto& ids : *group)
      memory.text_tokens = std::max(memory.text_tokens, static_cast<std::int64_t>(ids.size()));
  }
  if (!decodes_together(request)) memory.images = 1;
  const auto device = backend->device_memory();
  if (!device) {
    CheckedPlan checked{std::move(plan), plan_memory(model.configs, model.weights, memory), {}};
    require_fit(checked.memory);
    return checked;
  }
  DevicePlan device_plan =
      plan_device(model.configs, model.weights, memory, offload,
                  device->free_bytes + device->held_bytes, device_habits(backend->name()));
  require_device_fit(device_plan, backend->name());
  const std::uint64_t decode_limit = device_decode_limit(device_plan, model.configs.vae, memory);
  memory.limit_bytes = 0;  // the host's pages of the files come and go as it likes
  MemoryPlan host = plan_memory(model.configs, model.weights, memory);
  host.decode_limit_bytes = decode_limit;
  return {std::move(plan), std::move(host), std::move(device_plan)};
}

/// What is held between requests.
MemoryPlan Pipeline::State::resting_plan() const {
  const std::int64_t height = model.configs.defaults.height_px;
  const std::int64_t width = model.configs.defaults.width_px;
  return plan_memory(model.configs, model.weights,
                     {1, 1, height, width, 1, dtype, memory_limit_bytes, quantization});
}

TextBatch Pipeline::State::encode(const Request& request, const GenerationPlan& plan,
                                  const MemoryPlan& memory) {
  const WeightFiles& weights = model.weights.text_encoder;
  WeightResidency residency(weights, TextEncoder::layer_prefix(weights),
                            memory.stage("text_encoder").residency);
  const ListeningScope listening(model.text_encoder, residency);
  const Stopwatch watch;
  return encode_text(*backend, model.text_encoder, plan, request.num_images_per_prompt, dtype,
                     request.trace, text_cache, [&](int done, int total) {
                       if (request.on_progress)
                         request.on_progress({Stage::text_encoder, done, total, watch.seconds()});
                     });
}

/// Given latents, or noise: one draw for the whole batch from a single seed, one an image from a
/// list.
Tensor Pipeline::State::initial_latents(const Request& request, const GenerationPlan& plan) const {
  const Shape shape = {plan.images, model.configs.transformer.in_channels, plan.latent_height,
                       plan.latent_width};
  Tensor latents = Tensor::host(DType::f32, shape);
  if (!request.latents.empty()) {
    std::ranges::copy(request.latents, latents.data<float>());
  } else {
    const std::size_t draws = request.seeds.size();
    const std::span<float> values = latents.span<float>();
    for (std::size_t i = 0; i < draws; ++i) {
      TorchGenerator generator(request.seeds[i]);
      generator.randn(values.subspan(i * (values.size() / draws), values.size() / draws),
                      precision);
    }
  }
  latents = round_to(latents, dtype);
  record(request.trace, "latents.initial", latents);
  return latents;
}

/// Model output for host latents [images, C, h, w], guidance applied, on the host.
Tensor Pipeline::State::predict_velocity(const GenerationPlan& plan,
                                         const TransformerContext& context, const Tensor& latents,
                                         float timestep, const std::string& step,
                                         Trace* trace) const {
  const std::int64_t rows = plan.images * (plan.guided ? 2 : 1);
  const std::vector<float> timesteps(static_cast<std::size_t>(rows), timestep);
  Tensor input = backend->upload(latents);
  if (plan.guided) {
    const Tensor flat = input.reshaped({1, plan.images, latents.size() / plan.images});
    Shape doubled = latents.shape();
    doubled[0] = rows;
    input = backend->concat_rows(flat, flat).reshaped(doubled);
  }
  Trace* const first_call =
      step == "step0." ? trace : nullptr;  // the blocks are recorded for the first call only
  const Tensor output =
      backend->download(model.transformer.forward(input, timesteps, context, first_call));
  record(trace, step + "dit_output", output);
  if (!plan.guided) return output;
  return apply_guidance(output.slice(0, plan.images), output.slice(plan.images, plan.images),
                        plan.guidance_scale);
}

Tensor Pipeline::State::denoise(const Request& request, const GenerationPlan& plan,
                                const TransformerContext& context, Tensor latents,
                                Timings& timings) const {
  const FlowMatchEulerScheduler scheduler(model.configs.scheduler, plan.num_inference_steps);
  record(request.trace, "scheduler.sigmas", float_tensor(scheduler.sigmas()));
  record(request.trace, "scheduler.timesteps", float_tensor(scheduler.timesteps()));
  const Tensor fed = round_to(float_tensor(scheduler.timesteps()), dtype);
  record(request.trace, "scheduler.timestep_fed", fed);
  const Tensor timesteps = to_float(fed);
  const Stopwatch stage_watch;
  for (int i = 0; i < plan.num_inference_steps; ++i) {
    const Stopwatch watch;
    const std::string step = "step" + std::to_string(i) + ".";
    const Tensor velocity =
        predict_velocity(plan, context, latents, timesteps.data<float>()[i], step, request.trace);
    latents = scheduler.step(i, velocity, latents);
    record(request.trace, step + "latents", latents);
    timings.step_seconds.push_back(watch.seconds());
    if (request.on_progress)
      request.on_progress(
          {Stage::transformer, i + 1, plan.num_inference_steps, stage_watch.seconds()});
  }
  record(request.trace, "latents.final", latents);
  return latents;
}

/// Latents [images, C, h, w] to pictures, one at a time: the decoder is what needs most memory for
/// one of them.
std::vector<Image> Pipeline::State::decode(const Request& request, const Tensor& latents,
                                           std::uint64_t limit_bytes) const {
  const Stopwatch watch;
  const Tensor z = model.vae.unpack(latents);
  record(request.trace, "vae.input", channels_first(z));
  const Shape picture = {latents.dim(0), latents.dim(2) * model.configs.vae.spatial_factor,
                         latents.dim(3) * model.configs.vae.spatial_factor, 3};
  const std::int64_t at_once = decodes_together(request) ? latents.dim(0) : 1;
  Tensor decoded = Tensor::host(z.dtype(), picture);
  for (std::int64_t i = 0; i < latents.dim(0); i += at_once) {
    const Tensor part =
        model.vae.decode(backend->upload(z.slice(i, at_once)), limit_bytes, request.trace);
    std::copy_n(part.bytes(), part.size_bytes(), decoded.slice(i, at_once).bytes());
    if (request.on_progress)
      request.on_progress({Stage::vae_decoder, static_cast<int>(i + at_once),
                           static_cast<int>(latents.dim(0)), watch.seconds()});
  }
  record(request.trace, "vae.output", channels_first(decoded));
  const Tensor values = to_float(decoded);
  if (!std::ranges::all_of(values.span<float>(),
                           [](float value) { return std::isfinite(value); })) {
    throw Error(ErrorKind::corrupt_file,
                "the decoded picture has values that are not finite: the weights of " +
                    model.folder.name +
                    " are damaged, or too large for this precision; try --dtype fp32");
  }
  const Tensor pixels = to_uint8(decoded);
  record(request.trace, "image.uint8", pixels);
  std::vector<Image> images;
  for (std::int64_t i = 0; i < latents.dim(0); ++i) {
    const auto rgb = pixels.slice(i, 1).span<std::uint8_t>();
    images.push_back(
        {static_cast<int>(picture[2]), static_cast<int>(picture[1]), {rgb.begin(), rgb.end()}});
  }
  return images;
}

const char* version() { return ERNIE_IMAGE_VERSION; }

}  // namespace ernie_image
