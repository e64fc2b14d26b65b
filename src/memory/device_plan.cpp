#include "memory/device_plan.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <set>

#include "core/byte_counts.h"
#include "ernie_image/error.h"
#include "memory/device_weights.h"
#include "models/vae_memory.h"

namespace ernie_image {
namespace {

void set_layers(DeviceStage& stage, const DeviceWeights& weights, std::string_view prefix,
                std::int64_t layers) {
  stage.layers = layers;
  stage.scratch_bytes = weights.scratch_bytes(prefix);
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::uint64_t bytes = weights.bytes(std::string(prefix) + std::to_string(i) + ".");
    stage.layer_bytes = std::max(stage.layer_bytes, bytes);
    stage.layers_bytes += bytes;
  }
}

// ---- activations
// ---------------------------------------------------------------------------------

/// Codes of a layer's input and their scales, sums of its result, in each of the two widths.
std::uint64_t integer_bytes(std::int64_t tokens, std::int64_t widths) {
  const std::int64_t scales = 2 * static_cast<std::int64_t>(sizeof(float));
  return static_cast<std::uint64_t>(tokens * (widths * (1 + 4) + scales));
}

/// The pool keeps what it has, by size: while the feed-forward layer holds four tensors of its
/// width, those of attention are still there. Blocks are up to an eighth larger than asked for.
std::uint64_t block_bytes(std::int64_t tokens, std::int64_t hidden, std::int64_t attention,
                          std::int64_t ffn, DType dtype, const DeviceWeights& weights) {
  constexpr std::uint64_t kSmallTensors = std::uint64_t{512} << 10;  // vectors, tables, masks
  // x, normed, q, k, v, and of one of these: normed, two products, rotated.
  const std::int64_t widths = 2 * hidden + 7 * attention + 4 * ffn;
  const std::uint64_t bytes = static_cast<std::uint64_t>(tokens * widths) * size_of(dtype);
  // Input and result of a layer, in each of the two widths.
  const std::int64_t wide = weights.widens_activations() ? 2 * (hidden + ffn) : 0;
  const std::uint64_t all = bytes +
                            static_cast<std::uint64_t>(tokens * wide) * size_of(DType::f32) +
                            (weights.has_int8() ? integer_bytes(tokens, hidden + ffn) : 0);
  return all + all / 8 + kSmallTensors;
}

/// Around each operation the channels are moved first and back: of every size of tensor in the
/// decoder there are up to five, and the pool keeps those of earlier, smaller levels.
std::uint64_t decoder_bytes(const VaeConfig& config, const PlanRequest& request, std::int64_t h,
                            std::int64_t w, bool widens) {
  std::set<std::int64_t> sizes;
  std::int64_t pixels = request.images * 2 * h * 2 * w;
  std::int64_t inputs = config.block_out_channels.back();
  for (std::size_t i = config.block_out_channels.size(); i-- > 0;) {
    const std::int64_t outputs = config.block_out_channels[i];
    sizes.insert({pixels * inputs, pixels * outputs});
    inputs = outputs;
    pixels *= i > 0 ? 4 : 1;
  }
  const std::uint64_t tensors = 5 * size_of(request.dtype) + (widens ? 2 * size_of(DType::f32) : 0);
  const std::uint64_t sum = std::accumulate(sizes.begin(), sizes.end(), std::uint64_t{0}) * tensors;
  return sum + sum / 8;
}

// ---- stages
// --------------------------------------------------------------------------------------

DeviceStage plan_text_encoder(const MinistralConfig& config, const WeightFiles& files,
                              const PlanRequest& request, const DeviceHabits& habits) {
  const DeviceWeights weights(files, request.dtype, Quantization::none, habits);
  const std::string prefix = TextEncoder::layer_prefix(files);
  DeviceStage stage;
  stage.name = "text_encoder";
  stage.activation_bytes =
      weights.copied_bytes(prefix) + block_bytes(request.text_tokens, config.hidden_size,
                                                 config.num_attention_heads * config.head_dim,
                                                 config.intermediate_size, request.dtype, weights);
  set_layers(stage, weights, prefix, TextEncoder::layers_used(config));
  return stage;
}

DeviceStage plan_transformer(const TransformerConfig& config, const WeightFiles& files,
                             const PlanRequest& request, std::int64_t tokens,
                             const DeviceHabits& habits) {
  const DeviceWeights weights(files, request.dtype, request.transformer_quantization, habits);
  DeviceStage stage;
  stage.name = "transformer";
  stage.activation_bytes =
      weights.copied_bytes("") + block_bytes(tokens, config.hidden_size, config.hidden_size,
                                             config.ffn_hidden_size, request.dtype, weights);
  set_layers(stage, weights, Transformer::kLayerPrefix, config.num_layers);
  stage.fixed_bytes = weights.bytes("") - stage.layers_bytes;
  return stage;
}

DeviceStage plan_vae(const VaeConfig& config, const WeightFiles& files, const PlanRequest& request,
                     std::int64_t h, std::int64_t w, const DeviceHabits& habits) {
  const DeviceWeights weights(files, request.dtype, Quantization::none, habits);
  DeviceStage stage;
  stage.name = "vae";
  stage.whole_activation_bytes = weights.copied_bytes("decoder.") +
                                 decoder_bytes(config, request, h, w, weights.widens_activations());
  stage.activation_bytes = stage.whole_activation_bytes;
  stage.fixed_bytes = weights.bytes("decoder.") + weights.bytes("post_quant_conv.");
  return stage;
}

void set_streaming(DevicePlan& plan, const std::string& offload) {
  for (DeviceStage& stage : plan.stages) {
    const bool whole = plan.stage_bytes(stage) <= plan.limit_bytes;
    stage.streams = stage.layers > 0 && (offload == "layers" || (offload == "auto" && !whole));
    stage.fits = plan.stage_bytes(stage) <= plan.limit_bytes;
  }
}

}  // namespace

std::uint64_t DeviceStage::resident_bytes() const {
  constexpr std::uint64_t kBuffers = 2;
  return streams ? fixed_bytes + kBuffers * (layer_bytes + scratch_bytes)
                 : weight_bytes() + scratch_bytes;
}

const DeviceStage& DevicePlan::stage(std::string_view name) const {
  const auto found = std::ranges::find(stages, name, &DeviceStage::name);
  assert(found != stages.end());
  return *found;
}

std::uint64_t DevicePlan::stage_bytes(const DeviceStage& stage) const {
  std::uint64_t weights = stage.resident_bytes();
  if (keeps_all) {
    weights = 0;
    for (const DeviceStage& other : stages) weights += other.weight_bytes();
    weights += stage.scratch_bytes;
  }
  return workspace_bytes + stage.activation_bytes + weights;
}

std::uint64_t DevicePlan::peak_bytes() const {
  std::uint64_t peak = 0;
  for (const DeviceStage& stage : stages) peak = std::max(peak, stage_bytes(stage));
  return peak;
}

DevicePlan plan_device(const ModelConfigs& configs, const ModelWeights& weights,
                       const PlanRequest& request, const std::string& offload,
                       std::uint64_t limit_bytes, const DeviceHabits& habits) {
  const std::int64_t h = request.height_px / configs.vae.spatial_factor;
  const std::int64_t w = request.width_px / configs.vae.spatial_factor;
  DevicePlan plan;
  plan.limit_bytes =
      request.limit_bytes == 0 ? limit_bytes : std::min(request.limit_bytes, limit_bytes);
  plan.workspace_bytes = habits.workspace_bytes + request.adapter_bytes;
  plan.stages = {plan_text_encoder(configs.text_encoder, weights.text_encoder, request, habits),
                 plan_transformer(configs.transformer, weights.transformer, request,
                                  request.batch_rows * (h * w + request.text_tokens), habits),
                 plan_vae(configs.vae, weights.vae, request, h, w, habits)};
  plan.keeps_all = true;
  plan.keeps_all =
      offload == "none" || (offload == "auto" && plan.peak_bytes() <= plan.limit_bytes);
  set_streaming(plan, offload);
  // Above its room the decoder makes bands.
  DeviceStage& vae = plan.stages.back();
  const std::uint64_t other = plan.stage_bytes(vae) - vae.activation_bytes;
  if (!vae.fits && other < plan.limit_bytes) {
    vae.activation_bytes = plan.limit_bytes - other;
    vae.fits = true;
  }
  return plan;
}

std::uint64_t device_decode_limit(const DevicePlan& plan, const VaeConfig& config,
                                  const PlanRequest& request) {
  const std::int64_t h = request.height_px / config.spatial_factor;
  const std::int64_t w = request.width_px / config.spatial_factor;
  const std::uint64_t counted = vae_decoder_bytes(config, request.images, h, w, request.dtype);
  const DeviceStage& vae = plan.stage("vae");
  const double share =
      static_cast<double>(vae.activation_bytes) / static_cast<double>(vae.whole_activation_bytes);
  return static_cast<std::uint64_t>(static_cast<double>(counted) * share);
}

void require_device_fit(const DevicePlan& plan, const std::string& device) {
  for (const DeviceStage& stage : plan.stages) {
    if (stage.fits) continue;
    throw Error(ErrorKind::out_of_memory,
                "the " + stage.name + " does not fit into the " + gib(plan.limit_bytes) + " of " +
                    device + ": it needs " + gib(stage.activation_bytes) + " for activations and " +
                    gib(plan.stage_bytes(stage) - stage.activation_bytes) +
                    " for weights and workspaces; ask for fewer images at once, a smaller picture, "
                    "--dtype bf16, or --offload auto or layers");
  }
}

}  // namespace ernie_image
