// Pipeline::load and Pipeline::generate: the order of work, from prompts to pictures.
// Reference: diffusers pipeline_ernie_image.py, ErnieImagePipeline.__call__.
#include "ernie_image/pipeline.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/byte_counts.h"
#include "enhance/prompt_enhancer.h"
#include "memory/memory_limit.h"
#include "memory/memory_sampler.h"
#include "memory/weight_residency.h"
#include "pipeline/pipeline_state.h"
#include "pipeline/resolve_request.h"
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

Parallel parallel_of(const LoadOptions& options) {
  const DeviceOptions all = options_of_device(options.device, options.device_options);
  const auto found = all.find("parallel");
  return found == all.end() ? Parallel::pictures : parallel_mode(found->second);
}

}  // namespace

Pipeline::State::State(const LoadOptions& options, const WeightShare& weight_share)
    : precision(options.precision),
      dtype(dtype_of(precision)),
      quantization(options.quantization),
      memory_limit_bytes(options.memory_limit_bytes),
      parallel(parallel_of(options)),
      share(weight_share),
      kind(device_kind(options.device)),
      offload(offload_of_device(options.device, options.device_options)),
      backend(make_backend(backend_options(options))),
      model(
          *backend, resolve_model(options.model, options.parts), options.quantization, dtype,
          [&](const ModelConfigs& configs, const ModelWeights& weights) {
            require_copy_fits(*backend, configs, weights, options.quantization);
          },
          share),
      targets(adapter_targets(model)),
      adapters(targets),
      transformer_adapters(*backend, model.weights.transformer, "", "transformer", dtype),
      text_encoder_adapters(*backend, model.weights.text_encoder,
                            TextEncoder::name_prefix(model.weights.text_encoder), "text_encoder",
                            dtype) {}

Pipeline::Pipeline(std::unique_ptr<State> state) : state_(std::move(state)) {}
Pipeline::Pipeline(Pipeline&&) noexcept = default;
Pipeline& Pipeline::operator=(Pipeline&&) noexcept = default;
Pipeline::~Pipeline() = default;

const ModelInfo& Pipeline::info() const { return state_->info; }

Pipeline Pipeline::load(const LoadOptions& options) {
  const Stopwatch watch;
  LoadOptions one_device = options;
  const std::vector<std::string> devices = split_device_list(options.device);
  WeightShare share = {.rank = 0,
                       .ranks = cards_sharing_weights(options.device, options.device_options)};
  one_device.device = devices.front();
  Pipeline pipeline = State::load(one_device, share);
  for (auto device = devices.begin() + 1; device != devices.end(); ++device) {
    one_device.device = *device;
    if (!share.is_all()) ++share.rank;
    pipeline.state_->replicas.push_back(State::load(one_device, share));
  }
  pipeline.state_->info.load_seconds = watch.seconds();
  return pipeline;
}

Pipeline Pipeline::State::load(const LoadOptions& options, const WeightShare& share) {
  auto state = std::make_unique<State>(options, share);
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

std::vector<ActiveAdapter> Pipeline::State::open_adapters(const Request& request) {
  std::vector<ActiveAdapter> active;
  if (!request.adapters.empty() && !share.is_all()) {
    throw Error(ErrorKind::unsupported,
                "adapters cannot be added to weights that are shared out among cards; take "
                "--parallel-weights whole, or merge them into a model (`ernie-image lora merge`)");
  }
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

/// A stage by itself, outside of a run.
void Pipeline::State::run_alone(const std::string& stage, const ResolvedRequest& plan,
                                std::shared_ptr<const CancelToken> token,
                                const std::function<void(const DecodeBands&)>& work) {
  const MemoryPlan memory = plan_memory(plan, 1, 0);
  const CancelScope cancel(*backend, std::move(token));
  backend->begin_stage(stage_room(memory, memory.stage(stage)));
  work(memory.stage(stage).bands);
  backend->end_stage();
  backend->release_cache();
  model.weights.vae.release_pages();
}

std::vector<Image> Pipeline::decode(const std::vector<float>& latents, int height_px, int width_px,
                                    std::shared_ptr<const CancelToken> cancel) {
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
  std::vector<Image> images;
  state_->run_alone("vae", generation_of(planned, state_->model.configs), std::move(cancel),
                    [&](const DecodeBands& bands) {
                      images = decode_latents(state_->networks(), {},
                                              round_to(batch, state_->dtype), 1, bands);
                    });
  return images;
}

std::vector<float> Pipeline::encode(const Image& image, std::shared_ptr<const CancelToken> cancel) {
  if (image.rgb.empty())
    throw Error(ErrorKind::invalid_argument, "the picture to be encoded has no pixels");
  // Refused for what a request is that begins with it.
  Request request;
  request.prompts = {""};
  request.picture.image = image;
  request.picture.strength_mode = StrengthMode::exact;  // some is left of it
  const ResolvedRequest plan = resolve_request(request, state_->model);
  std::vector<float> latents;
  state_->run_alone("vae_encoder", plan, std::move(cancel), [&](const DecodeBands& bands) {
    const Tensor encoded =
        to_float(encode_image(state_->networks(), image, plan.height_px, plan.width_px,
                              state_->precision, bands.band_bytes, nullptr));
    const auto values = encoded.span<float>();
    latents.assign(values.begin(), values.end());
  });
  return latents;
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
                                      quantization, decoded_at_once, share);
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
  return GenerationRehearsal(*backend, model.configs, model.weights, {}, precision, quantization, 1,
                             share)
      .resting_bytes();
}

const char* version() { return ERNIE_IMAGE_VERSION; }

}  // namespace ernie_image
