// What lives where and when, known before any work is done.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/model.h"
#include "core/dtype.h"
#include "ernie_image/memory.h"
#include "memory/weight_residency.h"
#include "models/language_model.h"

namespace ernie_image {

/// How many tokens the prompt enhancer has to hold; as many as the released model is asked for
/// where no prompt is known yet.
struct EnhancerPlanRequest {
  std::int64_t prompt_tokens = 512;
  std::int64_t new_tokens = 2048;
  DType dtype = DType::f32;
  Quantization quantization = Quantization::none;
};

/// The sizes that decide how much memory a request needs.
struct PlanRequest {
  std::int64_t batch_rows = 1;  ///< images, twice that under guidance
  std::int64_t images = 1;
  std::int64_t height_px = 0;
  std::int64_t width_px = 0;
  std::int64_t text_tokens = 64;
  DType dtype = DType::f32;
  /// Of everything the process may hold, weights included; 0: what the system has.
  std::uint64_t limit_bytes = 0;
  Quantization transformer_quantization = Quantization::none;
  /// Of adapters, held through all stages: on the device if it has memory of its own.
  std::uint64_t adapter_bytes = 0;
};

/// One stage. Its weights are pages of mapped files, layer by layer; copies of them and activations
/// are memory of the process's own.
struct PlanStage {
  std::string name;  ///< "pe", "text_encoder", "transformer", "vae"
  std::uint64_t activation_bytes = 0;
  std::uint64_t copied_bytes = 0;  ///< quantised weights
  bool copy_stays = false;         ///< from loading to the end, not only during this stage
  std::uint64_t fixed_bytes = 0;   ///< mapped weights that are needed all the time
  std::uint64_t layer_bytes = 0;   ///< of the largest layer
  std::uint64_t layers_bytes = 0;  ///< of all
  ResidencyPlan residency;
  bool fits = true;

  bool streams() const { return residency.resident_layers < residency.layers; }
  std::uint64_t mapped_bytes() const { return mapped(residency.layers); }
  /// What is mapped at a time.
  std::uint64_t resident_bytes() const {
    return mapped(residency.resident_layers + residency.window_layers);
  }

 private:
  std::uint64_t mapped(std::int64_t layers) const {
    return fixed_bytes + std::min(layers_bytes, static_cast<std::uint64_t>(layers) * layer_bytes);
  }
};

/// Stages run in turn, so the peak is that of the largest.
struct MemoryPlan {
  std::vector<PlanStage> stages;
  std::uint64_t program_bytes = 0;       ///< the program itself, its libraries, the tokenizer
  std::uint64_t limit_bytes = 0;         ///< that the plan was made for
  std::uint64_t available_bytes = 0;     ///< free now, within the cgroup's limit
  std::uint64_t decode_limit_bytes = 0;  ///< of the VAE's activations, above which it makes bands

  const PlanStage& stage(std::string_view name) const;
  /// Everything the process holds during a stage.
  std::uint64_t stage_bytes(const PlanStage& stage) const;
  std::uint64_t peak_bytes() const;
  std::uint64_t peak_activation_bytes() const;
  /// What is left for the prompt enhancer while the rest of the model is loaded.
  std::uint64_t enhancer_room_bytes() const;
};

MemoryPlan plan_memory(const ModelConfigs& configs, const ModelWeights& weights,
                       const PlanRequest& request);

/// The keys and values of every token, the prefill, and the copy that quantised weights are, within
/// `room_bytes`.
PlanStage plan_enhancer(const MinistralConfig& config, bool tied_embeddings,
                        const WeightFiles& weights, const EnhancerPlanRequest& request,
                        std::uint64_t room_bytes);

/// The planned half of what is reported of a stage.
StageMemory stage_memory(const PlanStage& stage, std::uint64_t predicted_bytes);

/// Of a quantised copy of the transformer's layers.
std::uint64_t quantized_layers_bytes(const WeightFiles& transformer, Quantization quantization);

/// Throws Error(out_of_memory) if that copy does not fit.
void require_quantized_fit(const WeightFiles& transformer, Quantization quantization);

/// Decides which layers stay and which are streamed, so that the stage takes at most `limit_bytes`,
/// `own_bytes` of which are not mapped weights. If that is impossible, the stage does not fit.
void fit_stage(PlanStage& stage, std::uint64_t limit_bytes, std::uint64_t own_bytes);

/// Where not all components find room in the page cache, each leaves it when it is done.
void drop_done_components(MemoryPlan& plan);

/// Throws Error(out_of_memory) with the numbers and what would make it fit, for the first stage
/// that does not.
void require_fit(const MemoryPlan& plan);

/// The same for the prompt enhancer alone.
void require_enhancer_fit(const PlanStage& stage, std::uint64_t room_bytes);

}  // namespace ernie_image
