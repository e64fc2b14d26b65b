#include "memory/memory_plan.h"

#include <algorithm>
#include <cassert>

#include "core/byte_counts.h"
#include "core/packed_weight.h"
#include "core/quantization.h"
#include "memory/memory_limit.h"
#include "models/quantized_weights.h"
#include "models/vae_memory.h"

namespace ernie_image {
namespace {

// Program and shared libraries, stacks, small tensors: 16 to 20 MiB measured.
constexpr std::uint64_t kProgramBytes = std::uint64_t{20} << 20;

// Rows of which a matrix product keeps a packed f32 copy at a time (src/backend/cpu/linear.cpp),
// and its scratch memory.
constexpr std::int64_t kPackedRows = 1056;
constexpr std::uint64_t kScratchBytes = std::uint64_t{8} << 20;

// ---- weights -----------------------------------------------------------------------------------

std::uint64_t prefix_bytes(const std::vector<Weight>& weights, const std::string& prefix) {
  std::uint64_t bytes = 0;
  for (const Weight& weight : weights) {
    if (weight.name.starts_with(prefix)) bytes += weight.size_bytes();
  }
  return bytes;
}

/// The mapped weights of the first `layers` layers.
void set_layers(PlanStage& stage, const WeightFiles& files, std::string_view layer_prefix,
                std::int64_t layers) {
  const std::vector<Weight> weights = files.all();
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string prefix = std::string(layer_prefix) + std::to_string(i) + ".";
    const std::uint64_t bytes = prefix_bytes(weights, prefix);
    stage.layer_bytes = std::max(stage.layer_bytes, bytes);
    stage.layers_bytes += bytes;
  }
  stage.residency.layers = stage.residency.resident_layers = layers;
}

/// Rows of a table that are looked up: the system maps 64 KiB around each.
std::uint64_t looked_up_bytes(std::int64_t rows, const MinistralConfig& config) {
  const auto table = static_cast<std::uint64_t>(config.vocab_size * config.hidden_size) * 2;
  return std::min(static_cast<std::uint64_t>(rows) << 16, table);
}

/// The packed format in which loading makes a copy of the weight; plain where it makes none, as of
/// weights that are packed in the file.
WeightFormat copied_format(const WeightFiles& files, const Weight& weight,
                           Quantization quantization) {
  if (is_packed(weight.format) || weight.shape.size() != 2) return WeightFormat::plain;
  return weight_format(layer_quantization(quantized_weights(), files, weight.name, quantization));
}

/// Of packed copies of the matrices whose names begin so.
std::uint64_t quantized_bytes(const WeightFiles& files, std::string_view prefix,
                              Quantization quantization) {
  if (quantization == Quantization::none) return 0;
  std::uint64_t bytes = 0;
  for (const Weight& weight : files.all()) {
    const WeightFormat format = copied_format(files, weight, quantization);
    if (weight.name.starts_with(prefix) && format != WeightFormat::plain)
      bytes += PackedLayout(format, weight.shape).size_bytes();
  }
  return bytes;
}

/// Of the weights that are used where they are mapped, in copied layers too.
std::uint64_t mapped_bytes(const WeightFiles& files, Quantization quantization) {
  std::uint64_t bytes = 0;
  for (const Weight& weight : files.all()) {
    if (copied_format(files, weight, quantization) == WeightFormat::plain)
      bytes += weight.size_bytes();
  }
  return bytes;
}

/// What the image path reads of the VAE; it has no use for the encoder.
std::uint64_t decoder_bytes(const WeightFiles& files) {
  const std::vector<Weight> weights = files.all();
  return prefix_bytes(weights, "decoder.") + prefix_bytes(weights, "post_quant_conv.");
}

// ---- activations -------------------------------------------------------------------------------

/// Tokens x widths alive at once in a block: the block's input, x, the normed x and the result, and
/// either q, k, v with their rotated copies and the attended values, or gate, up and their product;
/// beside them the float copy that the matrix product packs. Blocks of the pool are up to an eighth
/// larger than asked for.
std::uint64_t block_bytes(std::int64_t tokens, std::int64_t hidden, std::int64_t qkv,
                          std::int64_t ffn, DType dtype) {
  const std::int64_t widths = std::max(2 * qkv + 3 * hidden, 3 * ffn + 4 * hidden);
  const std::int64_t packed = std::min(tokens, kPackedRows) * std::max(hidden, ffn);
  const std::uint64_t bytes = static_cast<std::uint64_t>(tokens * widths) * size_of(dtype) +
                              static_cast<std::uint64_t>(packed) * size_of(DType::f32);
  return bytes + bytes / 16 + kScratchBytes;
}

std::uint64_t block_bytes(std::int64_t tokens, const MinistralConfig& config, DType dtype) {
  const std::int64_t qkv =
      (config.num_attention_heads + 2 * config.num_key_value_heads) * config.head_dim;
  return block_bytes(tokens, config.hidden_size, qkv, config.intermediate_size, dtype);
}

/// Where nothing else limits it, the decoder takes half of the free memory at most.
std::uint64_t decode_limit(const MemoryPlan& plan, const PlanStage& vae, std::uint64_t asked) {
  if (asked == 0) return plan.available_bytes / 2;
  return minus(asked, plan.stage_bytes(vae) - vae.activation_bytes);
}

}  // namespace

// ---- MemoryPlan --------------------------------------------------------------------------------

const PlanStage& MemoryPlan::stage(std::string_view name) const {
  const auto found = std::ranges::find(stages, name, &PlanStage::name);
  assert(found != stages.end());
  return *found;
}

std::uint64_t MemoryPlan::stage_bytes(const PlanStage& stage) const {
  std::uint64_t bytes = program_bytes + stage.activation_bytes + stage.resident_bytes();
  for (const PlanStage& other : stages) {
    if (other.copy_stays || &other == &stage) bytes += other.copied_bytes;
  }
  return bytes;
}

std::uint64_t MemoryPlan::peak_bytes() const {
  std::uint64_t peak = 0;
  for (const PlanStage& stage : stages) peak = std::max(peak, stage_bytes(stage));
  return peak;
}

std::uint64_t MemoryPlan::peak_activation_bytes() const {
  std::uint64_t peak = 0;
  for (const PlanStage& stage : stages) peak = std::max(peak, stage.activation_bytes);
  return peak;
}

std::uint64_t MemoryPlan::enhancer_room_bytes() const {
  std::uint64_t held = program_bytes;
  for (const PlanStage& stage : stages) {
    if (stage.copy_stays) held += stage.copied_bytes;
  }
  return minus(limit_bytes, held);
}

// ---- planning ----------------------------------------------------------------------------------

namespace {

PlanStage plan_text_encoder(const MinistralConfig& config, const WeightFiles& files,
                            const PlanRequest& request) {
  PlanStage stage;
  stage.name = "text_encoder";
  stage.activation_bytes = block_bytes(request.text_tokens, config, request.dtype);
  stage.fixed_bytes = looked_up_bytes(request.text_tokens, config);
  set_layers(stage, files, TextEncoder::layer_prefix(files), TextEncoder::layers_used(config));
  return stage;
}

PlanStage plan_transformer(const TransformerConfig& config, const WeightFiles& files,
                           const PlanRequest& request, std::int64_t tokens) {
  PlanStage stage;
  stage.name = "transformer";
  stage.activation_bytes = block_bytes(tokens, config.hidden_size, 3 * config.hidden_size,
                                       config.ffn_hidden_size, request.dtype);
  stage.copied_bytes =
      quantized_bytes(files, Transformer::kLayerPrefix, request.transformer_quantization);
  stage.copy_stays = true;
  // Layers that have been copied are not streamed.
  const std::int64_t layers = stage.copied_bytes == 0 ? config.num_layers : 0;
  set_layers(stage, files, Transformer::kLayerPrefix, layers);
  stage.fixed_bytes = mapped_bytes(files, request.transformer_quantization) - stage.layers_bytes;
  return stage;
}

PlanStage plan_vae(const VaeConfig& config, const WeightFiles& files, const PlanRequest& request,
                   std::int64_t h, std::int64_t w) {
  PlanStage stage;
  stage.name = "vae";
  stage.activation_bytes = vae_decoder_bytes(config, request.images, h, w, request.dtype);
  stage.fixed_bytes = decoder_bytes(files);
  return stage;
}

}  // namespace

MemoryPlan plan_memory(const ModelConfigs& configs, const ModelWeights& weights,
                       const PlanRequest& request) {
  const std::int64_t h = request.height_px / configs.vae.spatial_factor;
  const std::int64_t w = request.width_px / configs.vae.spatial_factor;
  const std::int64_t tokens = request.batch_rows * (h * w + request.text_tokens);

  MemoryPlan plan;
  plan.available_bytes = available_memory_bytes();
  plan.limit_bytes = total_memory_limit(request.limit_bytes);
  plan.program_bytes = kProgramBytes + weights.tokenizer_bytes + request.adapter_bytes;
  plan.stages = {plan_text_encoder(configs.text_encoder, weights.text_encoder, request),
                 plan_transformer(configs.transformer, weights.transformer, request, tokens),
                 plan_vae(configs.vae, weights.vae, request, h, w)};
  PlanStage& vae = plan.stages.back();
  plan.decode_limit_bytes = decode_limit(plan, vae, request.limit_bytes);
  vae.activation_bytes = std::min(vae.activation_bytes, plan.decode_limit_bytes);
  for (PlanStage& stage : plan.stages)
    fit_stage(stage, plan.limit_bytes, plan.stage_bytes(stage) - stage.resident_bytes());
  drop_done_components(plan);
  return plan;
}

StageMemory stage_memory(const PlanStage& stage, std::uint64_t predicted_bytes) {
  const ResidencyPlan& residency = stage.residency;
  return {stage.name, predicted_bytes, 0, static_cast<int>(residency.layers),
          static_cast<int>(residency.layers - residency.resident_layers)};
}

PlanStage plan_enhancer(const MinistralConfig& config, bool tied_embeddings,
                        const WeightFiles& weights, const EnhancerPlanRequest& request,
                        std::uint64_t room_bytes) {
  const std::int64_t capacity = request.prompt_tokens + request.new_tokens;
  PlanStage stage;
  stage.name = "pe";
  stage.activation_bytes = LanguageModel::cache_bytes(config, capacity, request.dtype) +
                           block_bytes(request.prompt_tokens, config, request.dtype);
  const char* head = tied_embeddings ? "model.embed_tokens." : "lm_head.";
  stage.copied_bytes = quantized_bytes(weights, LanguageModel::kLayerPrefix, request.quantization) +
                       quantized_bytes(weights, head, request.quantization);
  if (stage.copied_bytes == 0) {
    stage.fixed_bytes = looked_up_bytes(capacity, config) + prefix_bytes(weights.all(), head);
    set_layers(stage, weights, LanguageModel::kLayerPrefix, config.num_hidden_layers);
  }
  fit_stage(stage, room_bytes, stage.activation_bytes + stage.copied_bytes);
  return stage;
}

std::uint64_t quantized_layers_bytes(const WeightFiles& transformer, Quantization quantization) {
  return quantized_bytes(transformer, Transformer::kLayerPrefix, quantization);
}

}  // namespace ernie_image
