#include "pipeline/memory_plan.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <limits>
#include <sstream>

#include "core/packed_weight.h"
#include "core/quantization.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

std::uint64_t total_bytes(const WeightFiles& files) {
  std::uint64_t bytes = 0;
  for (const Weight& weight : files.all()) bytes += weight.size_bytes();
  return bytes;
}

/// Of a packed copy of what is not packed in the file already.
std::uint64_t quantized_bytes(const WeightFiles& files, Quantization quantization) {
  if (quantization == Quantization::none) return 0;
  const WeightFormat format = weight_format(quantization);
  std::uint64_t bytes = 0;
  for (const Weight& weight : files.all()) {
    const bool matrix = weight.format == WeightFormat::plain && weight.shape.size() == 2;
    if (matrix && is_quantized_layer(weight.name))
      bytes += PackedLayout(format, weight.shape).size_bytes();
  }
  return bytes;
}

/// Tokens x widths alive at once in a block: x, the normed x and either q, k, v with their rotated
/// copies and the attended values, or gate, up and their product beside the float copy that the
/// matrix product packs.
std::uint64_t block_bytes(std::int64_t tokens, std::int64_t hidden, std::int64_t qkv,
                          std::int64_t ffn, DType dtype) {
  const std::int64_t attention = 2 * qkv + hidden;
  const auto widths = static_cast<std::uint64_t>(2 * hidden + std::max(attention, 3 * ffn));
  const auto packed = static_cast<std::uint64_t>(std::max(hidden, ffn)) * size_of(DType::f32);
  return static_cast<std::uint64_t>(tokens) * (widths * size_of(dtype) + packed);
}

std::uint64_t block_bytes(std::int64_t tokens, const MinistralConfig& config, DType dtype) {
  const std::int64_t qkv =
      (config.num_attention_heads + 2 * config.num_key_value_heads) * config.head_dim;
  return block_bytes(tokens, config.hidden_size, qkv, config.intermediate_size, dtype);
}

/// The first number in a file such as memory.max; "max" or no file: unlimited.
std::uint64_t read_number(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  return file >> value ? value : kUnlimited;
}

std::uint64_t cgroup_left() {
  const std::uint64_t limit = std::min(read_number("/sys/fs/cgroup/memory.max"),
                                       read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
  const std::uint64_t used = std::min(read_number("/sys/fs/cgroup/memory.current"),
                                      read_number("/sys/fs/cgroup/memory/memory.usage_in_bytes"));
  if (limit == kUnlimited || used == kUnlimited) return kUnlimited;
  return limit > used ? limit - used : 0;
}

std::uint64_t mem_available() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string key;
    std::uint64_t kib = 0;
    if (fields >> key >> kib && key == "MemAvailable:") return kib * 1024;
  }
  return kUnlimited;
}

std::string gib(std::uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f GiB", static_cast<double>(bytes) / (1 << 30));
  return text;
}

}  // namespace

MemoryPlan plan_memory(const ModelConfigs& configs, const ModelWeights& weights,
                       const PlanRequest& request) {
  const MinistralConfig& text = configs.text_encoder;
  const TransformerConfig& dit = configs.transformer;
  const std::int64_t h = request.height_px / configs.vae.spatial_factor;
  const std::int64_t w = request.width_px / configs.vae.spatial_factor;
  const std::int64_t tokens = request.batch_rows * (h * w + request.text_tokens);

  MemoryPlan plan;
  plan.stages = {
      {"text_encoder", total_bytes(weights.text_encoder),
       block_bytes(request.text_tokens, text, request.dtype)},
      {"transformer", total_bytes(weights.transformer),
       block_bytes(tokens, dit.hidden_size, 3 * dit.hidden_size, dit.ffn_hidden_size,
                   request.dtype) +
           quantized_bytes(weights.transformer, request.quantization)},
      {"vae", total_bytes(weights.vae),
       VaeDecoder::peak_bytes(configs.vae, request.images, h, w, request.dtype)},
  };
  for (const PlanStage& stage : plan.stages)
    plan.peak_activation_bytes = std::max(plan.peak_activation_bytes, stage.activation_bytes);
  plan.available_bytes = available_memory_bytes();
  return plan;
}

PlanStage plan_enhancer(const MinistralConfig& config, const WeightFiles& weights,
                        const EnhancerPlanRequest& request) {
  const std::int64_t capacity = request.prompt_tokens + request.new_tokens;
  PlanStage stage{"pe", total_bytes(weights),
                  LanguageModel::cache_bytes(config, capacity, request.dtype) +
                      block_bytes(request.prompt_tokens, config, request.dtype) +
                      quantized_bytes(weights, request.quantization)};
  return stage;
}

void require_quantized_fit(const WeightFiles& weights, Quantization quantization) {
  const std::uint64_t needed = quantized_bytes(weights, quantization);
  const std::uint64_t available = available_memory_bytes();
  if (needed <= available) return;
  throw Error(ErrorKind::out_of_memory,
              "the quantised weights of the transformer need " + gib(needed) + " and " +
                  gib(available) +
                  " is available; use --quant int4, or --quant none, which maps "
                  "the weights from their file");
}

void require_fit(const MemoryPlan& plan, std::uint64_t memory_limit_bytes) {
  const std::uint64_t available =
      memory_limit_bytes != 0 ? memory_limit_bytes : plan.available_bytes;
  for (const PlanStage& stage : plan.stages) {
    if (stage.name == "vae" || stage.activation_bytes <= available)
      continue;  // the VAE decodes in bands instead
    throw Error(
        ErrorKind::out_of_memory,
        "the " + stage.name + " needs " + gib(stage.activation_bytes) + " for activations and " +
            gib(available) +
            " is available; ask for fewer images at once, a smaller picture, or --dtype bf16");
  }
}

void require_enhancer_fit(const PlanStage& stage, std::uint64_t memory_limit_bytes) {
  const std::uint64_t available =
      memory_limit_bytes != 0 ? memory_limit_bytes : available_memory_bytes();
  if (stage.activation_bytes <= available) return;
  throw Error(ErrorKind::out_of_memory,
              "the prompt enhancer needs " + gib(stage.activation_bytes) +
                  " besides its mapped weights and " + gib(available) +
                  " is available; allow fewer new tokens, use --dtype bf16, or run with "
                  "--no-enhance");
}

std::uint64_t available_memory_bytes() { return std::min(mem_available(), cgroup_left()); }

}  // namespace ernie_image
