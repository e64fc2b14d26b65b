#include "pipeline/rehearsal.h"

#include <algorithm>

#include "memory/memory_limit.h"
#include "memory/rehearsal.h"
#include "pipeline/generation.h"
#include "sampling/strength.h"

namespace ernie_image {
namespace {

// Program and shared libraries, stacks, small tensors: 16 to 20 MiB measured.
constexpr std::uint64_t kProgramBytes = std::uint64_t{20} << 20;

constexpr std::uint64_t kUnlimited = std::uint64_t{1} << 62;

enum Network { kTextEncoder, kTransformer, kVae };

/// With the pictures, as many prompts and steps as make a difference.
ResolvedRequest shortened(ResolvedRequest plan) {
  constexpr std::size_t kSteps = 3;  // a device records the second
  if (plan.sigmas.size() > kSteps + 1)
    plan.sigmas.erase(plan.sigmas.begin(), plan.sigmas.end() - kSteps - 1);
  return plan;
}

Request request_of(const ResolvedRequest& plan) {
  Request request;
  request.prompts.resize(plan.prompt_ids.size());
  request.num_images_per_prompt =
      static_cast<int>(plan.images / std::max<std::int64_t>(1, std::ssize(plan.prompt_ids)));
  return request;
}

}  // namespace

ResolvedRequest generation_of(const PlanRequest& request, const ModelConfigs& configs) {
  ResolvedRequest plan;
  plan.height_px = request.height_px;
  plan.width_px = request.width_px;
  plan.latent_height = request.height_px / configs.vae.spatial_factor;
  plan.latent_width = request.width_px / configs.vae.spatial_factor;
  plan.images = request.images;
  plan.num_inference_steps = configs.defaults.num_inference_steps;
  plan.sigmas =
      strength_sigmas(configs.scheduler, plan.num_inference_steps, 1.0, StrengthMode::diffusers);
  plan.uses_picture = request.begins_with_picture;
  plan.uses_mask = request.has_mask;
  plan.guided = request.guided;
  plan.prompt_ids.assign(
      1, std::vector<std::int32_t>(static_cast<std::size_t>(request.text_tokens), 0));
  if (plan.guided) plan.negative_ids = plan.prompt_ids;
  return plan;
}

// ---- one run of the stages ---------------------------------------------------------------------

/// The networks and their stages on a rehearsing backend. While it lives, all host tensors of this
/// thread are booked.
class GenerationRehearsal::Run {
 public:
  Run(const GenerationRehearsal& of, const std::string& offload, std::uint64_t room_bytes)
      : decoded_at_once_(of.decoded_at_once_),
        scope_(ledger_),
        ops_(of.ops_.rehearsal(ledger_, room_bytes, offload)),
        text_encoder_weights_(ledger_, kTextEncoder, of.weights_.text_encoder.all()),
        transformer_weights_(ledger_, kTransformer, of.weights_.transformer.all()),
        vae_weights_(ledger_, kVae, of.weights_.vae.all()),
        text_encoder_(*ops_, text_encoder_weights_, of.configs_.text_encoder, of.share_),
        transformer_(*ops_, transformer_weights_, of.configs_.transformer, of.quantization_,
                     of.share_),
        vae_(*ops_, vae_weights_, of.configs_.vae),
        plan_(shortened(of.generation_)),
        request_(request_of(plan_)),
        configs_(of.configs_),
        precision_(of.precision_),
        generation_(Networks{*ops_, configs_, text_encoder_, transformer_, vae_, vae_weights_, ""},
                    request_, plan_, precision_) {}

  Backend& ops() { return *ops_; }
  Ledger& ledger() { return ledger_; }
  const VaeDecoder& vae() const { return vae_; }

  /// Each gives what was held at most.
  Ledger::Held encode_picture(const DecodeBands& bands, const Backend::StageRoom& room = {}) {
    return stage(room, [&] {
      generation_.encode_picture(bands.band_bytes);
      ledger_.release_network(kVae);
    });
  }
  Ledger::Held encode(const ResidencyPlan& residency, const Backend::StageRoom& room = {}) {
    return stage(room, [&] {
      BookedResidency pages(ledger_, kTextEncoder, residency);
      const ListeningScope listening(text_encoder_, pages);
      TextCache cache;
      generation_.encode(cache);
    });
  }
  Ledger::Held denoise(const ResidencyPlan& residency, const Backend::StageRoom& room = {}) {
    return stage(room, [&] {
      BookedResidency pages(ledger_, kTransformer, residency);
      const ListeningScope listening(transformer_, pages);
      Timings timings;
      generation_.prepare();
      generation_.denoise(timings);
    });
  }
  Ledger::Held decode(const DecodeBands& bands, const Backend::StageRoom& room = {}) {
    return stage(room, [&] {
      generation_.decode(decoded_at_once_, bands);
      ledger_.release_network(kVae);
    });
  }

 private:
  template <typename Work>
  Ledger::Held stage(const Backend::StageRoom& room, const Work& work) {
    ops_->release_cache();
    ops_->begin_stage(room);
    ops_->reset_peak_memory();
    ledger_.reset_peak();
    work();
    ops_->end_stage();
    const auto device = ops_->device_memory();
    if (!device) return ledger_.peak();
    const std::uint64_t activations =
        std::min<std::uint64_t>(ops_->peak_memory_bytes(), device->peak_bytes);
    return {activations, device->peak_bytes - activations, 0};
  }

  std::int64_t decoded_at_once_;
  Ledger ledger_;
  HostRehearsal scope_;
  std::unique_ptr<Backend> ops_;
  BookedWeights text_encoder_weights_, transformer_weights_, vae_weights_;
  TextEncoder text_encoder_;
  Transformer transformer_;
  VaeDecoder vae_;
  ResolvedRequest plan_;
  Request request_;
  const ModelConfigs& configs_;
  Precision precision_;
  Generation generation_;
};

GenerationRehearsal::GenerationRehearsal(const Backend& ops, const ModelConfigs& configs,
                                         const ModelWeights& weights,
                                         const ResolvedRequest& generation, Precision precision,
                                         Quantization quantization, std::int64_t decoded_at_once,
                                         const WeightShare& share)
    : ops_(ops),
      configs_(configs),
      weights_(weights),
      generation_(generation),
      precision_(precision),
      quantization_(quantization),
      decoded_at_once_(decoded_at_once),
      share_(share) {}

namespace {

StagePlan named(const char* name) {
  StagePlan stage;
  stage.name = name;
  return stage;
}

BandChoices band_choices(const VaeDecoder& vae, const ResolvedRequest& plan) {
  return {vae.num_blocks(), VaeDecoder::least_strip_rows(), 2 * plan.latent_height};
}

/// The pixels of a picture to begin with, and its mask.
std::uint64_t input_bytes(const ResolvedRequest& plan) {
  const auto pixels =
      static_cast<std::uint64_t>(plan.width_px) * static_cast<std::uint64_t>(plan.height_px);
  return plan.uses_picture ? pixels * (plan.uses_mask ? 4 : 3) : 0;
}

/// The encoder knows none that are blended.
constexpr BandChoices kExactBands = {};

}  // namespace

// ---- the host's memory -------------------------------------------------------------------------

MemoryPlan GenerationRehearsal::on_host(std::uint64_t limit_bytes,
                                        std::uint64_t adapter_bytes) const {
  Run run(*this, "none", kUnlimited);
  MemoryPlan plan;
  plan.available_bytes = available_memory_bytes();
  plan.limit_bytes = total_memory_limit(limit_bytes);
  plan.program_bytes =
      kProgramBytes + weights_.tokenizer_bytes + adapter_bytes + input_bytes(generation_);
  const std::int64_t encoder_layers = TextEncoder::layers_used(configs_.text_encoder);
  // Layers that have been copied are not streamed.
  const bool copied = run.ledger().held().copies > 0;

  if (generation_.uses_picture) {
    StagePlan& picture = plan.stages.emplace_back(named("vae_encoder"));
    fit_bands(picture, kExactBands, plan.program_bytes, plan.limit_bytes,
              [&](const DecodeBands& bands) { return run.encode_picture(bands); });
    picture.weight_bytes = picture.peak.weights;
  }
  StagePlan encoder = named("text_encoder"), transformer = named("transformer"), vae = named("vae");
  fit_layers(encoder, encoder_layers, plan.program_bytes, plan.limit_bytes,
             [&](const ResidencyPlan& residency) { return run.encode(residency); });
  fit_layers(transformer, copied ? 0 : configs_.transformer.num_layers, plan.program_bytes,
             plan.limit_bytes,
             [&](const ResidencyPlan& residency) { return run.denoise(residency); });
  fit_bands(vae, band_choices(run.vae(), generation_), plan.program_bytes, plan.limit_bytes,
            [&](const DecodeBands& bands) { return run.decode(bands); });
  vae.weight_bytes = vae.peak.weights;
  for (StagePlan* stage : {&encoder, &transformer, &vae}) plan.stages.push_back(std::move(*stage));
  drop_what_cannot_stay(plan);
  return plan;
}

std::uint64_t GenerationRehearsal::resting_bytes() const {
  Run run(*this, "none", kUnlimited);
  return kProgramBytes + weights_.tokenizer_bytes + run.ledger().held().total();
}

// ---- a device's own memory ---------------------------------------------------------------------

/// Weights stay once they are there: of a second generation.
MemoryPlan GenerationRehearsal::keeping_all(std::uint64_t limit_bytes) const {
  Run run(*this, "none", kUnlimited);
  MemoryPlan plan;
  plan.limit_bytes = limit_bytes;
  plan.keeps_all = true;
  plan.program_bytes = run.ops().device_memory()->held_bytes;
  if (generation_.uses_picture) run.encode_picture({});
  run.encode({});
  run.denoise({});
  run.decode({});
  if (generation_.uses_picture) {
    fit_bands(plan.stages.emplace_back(named("vae_encoder")), kExactBands, 0, limit_bytes,
              [&](const DecodeBands& bands) { return run.encode_picture(bands); });
  }
  StagePlan encoder = named("text_encoder"), transformer = named("transformer"), vae = named("vae");
  fit_layers(encoder, 0, 0, limit_bytes, [&](const ResidencyPlan&) { return run.encode({}); });
  fit_layers(transformer, 0, 0, limit_bytes, [&](const ResidencyPlan&) { return run.denoise({}); });
  fit_bands(vae, band_choices(run.vae(), generation_), 0, limit_bytes,
            [&](const DecodeBands& bands) { return run.decode(bands); });
  for (StagePlan* stage : {&encoder, &transformer, &vae}) plan.stages.push_back(std::move(*stage));
  return plan;
}

/// Weights of one stage at a time, or layers.
MemoryPlan GenerationRehearsal::in_turn(const std::string& offload,
                                        std::uint64_t limit_bytes) const {
  Run run(*this, "encoder", kUnlimited);
  MemoryPlan plan;
  plan.limit_bytes = limit_bytes;
  plan.program_bytes = run.ops().device_memory()->held_bytes;
  const auto fit = [&](StagePlan& stage, std::int64_t layers, auto rehearse) {
    const Ledger::Held whole = rehearse(false), streamed = rehearse(true);
    stage.weight_bytes = whole.weights - std::min(whole.weights, plan.program_bytes);
    stage.least_bytes =
        offload == "encoder" ? whole.total() : std::min(whole.total(), streamed.total());
    const bool streams = offload == "layers" || (offload == "auto" && whole.total() > limit_bytes);
    stage.residency.layers = layers;
    stage.residency.resident_layers = streams ? 0 : layers;
    stage.peak = streams ? streamed : whole;
    stage.total_bytes = stage.peak.total();
    stage.fits = stage.total_bytes <= limit_bytes;
  };
  const auto own_weights = [&](const StagePlan& stage) {
    return stage.peak.weights - std::min(stage.peak.weights, plan.program_bytes);
  };
  if (generation_.uses_picture) {
    StagePlan& picture = plan.stages.emplace_back(named("vae_encoder"));
    fit_bands(picture, kExactBands, 0, limit_bytes,
              [&](const DecodeBands& bands) { return run.encode_picture(bands); });
    picture.weight_bytes = own_weights(picture);
  }
  StagePlan encoder = named("text_encoder"), transformer = named("transformer"), vae = named("vae");
  fit(encoder, TextEncoder::layers_used(configs_.text_encoder), [&](bool streams) {
    return run.encode({}, {.bytes = kUnlimited, .streams_layers = streams});
  });
  fit(transformer, configs_.transformer.num_layers, [&](bool streams) {
    return run.denoise({}, {.bytes = kUnlimited, .streams_layers = streams});
  });
  fit_bands(vae, band_choices(run.vae(), generation_), 0, limit_bytes,
            [&](const DecodeBands& bands) { return run.decode(bands); });
  vae.weight_bytes = own_weights(vae);
  for (StagePlan* stage : {&encoder, &transformer, &vae}) plan.stages.push_back(std::move(*stage));
  return plan;
}

MemoryPlan GenerationRehearsal::on_device(const std::string& offload,
                                          std::uint64_t limit_bytes) const {
  const auto reserve = [](MemoryPlan& plan) {
    for (StagePlan& stage : plan.stages) stage.reserved_bytes = stage.peak.activations;
  };
  if (offload == "none" || offload == "auto") {
    MemoryPlan plan = keeping_all(limit_bytes);
    reserve(plan);
    for (StagePlan& stage : plan.stages) stage.fits = stage.total_bytes <= limit_bytes;
    // Weights rather leave than that the picture is blended.
    const bool blends = plan.stage("vae").bands.whole_blocks != DecodeBands().whole_blocks;
    if (offload == "none" || (plan.peak_bytes() <= limit_bytes && !blends)) return plan;
  }
  MemoryPlan plan = in_turn(offload, limit_bytes);
  reserve(plan);
  if (offload != "auto" || plan.peak_bytes() > limit_bytes) return plan;
  // What is left there of the stages before, as long as there is room: of a first generation or a
  // second, whichever holds more.
  Run run(*this, offload, limit_bytes);
  for (const bool is_first : {true, false}) {
    for (StagePlan& stage : plan.stages) {
      const Backend::StageRoom room = stage_room(plan, stage);
      const Ledger::Held held = stage.name == "text_encoder"  ? run.encode({}, room)
                                : stage.name == "transformer" ? run.denoise({}, room)
                                : stage.name == "vae_encoder"
                                    ? run.encode_picture(stage.bands, room)
                                    : run.decode(stage.bands, room);
      if (!is_first && held.total() <= stage.total_bytes) continue;
      stage.peak = held;
      stage.total_bytes = held.total();
    }
  }
  return plan;
}

Backend::StageRoom stage_room(const MemoryPlan& plan, const StagePlan& stage) {
  return {plan.limit_bytes, stage.reserved_bytes, stage.streams()};
}

std::uint64_t quantized_copy_bytes(const Backend& ops, const ModelConfigs& configs,
                                   const ModelWeights& weights, Quantization quantization) {
  Ledger ledger;
  const HostRehearsal scope(ledger);
  const auto rehearsing = ops.rehearsal(ledger, kUnlimited, "none");
  BookedWeights booked(ledger, kTransformer, weights.transformer.all());
  const Transformer transformer(*rehearsing, booked, configs.transformer, quantization);
  return ledger.held().copies;
}

}  // namespace ernie_image
