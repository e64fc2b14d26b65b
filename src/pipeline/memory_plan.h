// What lives where and when, known before any work is done.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "models/language_model.h"
#include "pipeline/model.h"

namespace ernie_image {

/// The sizes that decide how much memory a request needs.
struct PlanRequest {
  std::int64_t batch_rows = 1;  ///< images, twice that under guidance
  std::int64_t images = 1;
  std::int64_t height_px = 0;
  std::int64_t width_px = 0;
  std::int64_t text_tokens = 64;
  DType dtype = DType::f32;
  /// Of the transformer, where its copy is not in memory yet.
  Quantization quantization = Quantization::none;
};

/// The sizes that decide how much memory the prompt enhancer needs; as many tokens as the released
/// model is asked for where no prompt is known yet.
struct EnhancerPlanRequest {
  std::int64_t prompt_tokens = 512;
  std::int64_t new_tokens = 2048;
  DType dtype = DType::f32;
  Quantization quantization = Quantization::none;
};

/// One stage: its weights stay in the mapped file (the system may drop and reread these pages), its
/// activations do not.
struct PlanStage {
  std::string name;  ///< "pe", "text_encoder", "transformer", "vae"
  std::uint64_t mapped_bytes = 0;
  std::uint64_t activation_bytes = 0;
};

/// Stages run in turn, so the peak is that of the largest.
struct MemoryPlan {
  std::vector<PlanStage> stages;
  std::uint64_t peak_activation_bytes = 0;
  std::uint64_t available_bytes = 0;  ///< free now, within the cgroup's limit
};

MemoryPlan plan_memory(const ModelConfigs& configs, const ModelWeights& weights,
                       const PlanRequest& request);

/// The keys and values of every token, the prefill, and the copy that quantised weights are.
PlanStage plan_enhancer(const MinistralConfig& config, const WeightFiles& weights,
                        const EnhancerPlanRequest& request);

/// Throws Error(out_of_memory) if a quantised copy of the weights does not fit.
void require_quantized_fit(const WeightFiles& weights, Quantization quantization);

/// Throws Error(out_of_memory) with the numbers and what would make it fit, if the activations do
/// not.
void require_fit(const MemoryPlan& plan, std::uint64_t memory_limit_bytes);

/// The same for the prompt enhancer's stage.
void require_enhancer_fit(const PlanStage& stage, std::uint64_t memory_limit_bytes);

/// Memory this process can still get: MemAvailable, cut to what the cgroup leaves.
std::uint64_t available_memory_bytes();

}  // namespace ernie_image
