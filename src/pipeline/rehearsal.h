// Memory plans of generations, by rehearsing them.
#pragma once

#include <cstdint>
#include <string>

#include "backend/backend.h"
#include "checkpoint/model.h"
#include "memory/memory_plan.h"
#include "pipeline/resolve_request.h"

namespace ernie_image {

/// What decides how much memory a request takes, beside the model.
struct PlanRequest {
  int height_px = 0;
  int width_px = 0;
  std::int64_t images = 1;
  bool guided = false;  ///< two rows an image
  bool begins_with_picture = false;
  bool has_mask = false;
  std::int64_t text_tokens = 64;  ///< of every prompt
  DType dtype = DType::f32;
  /// Of everything the process may hold, weights included; 0: what the system has.
  std::uint64_t limit_bytes = 0;
  Quantization transformer_quantization = Quantization::none;
};

/// A generation that stands for the request: a prompt an image.
ResolvedRequest generation_of(const PlanRequest& request, const ModelConfigs& configs);

/// One model on one kind of device, rehearsed as often as it is asked.
class GenerationRehearsal {
 public:
  /// All must outlive it. `decoded_at_once`: pictures. `share`: see Model.
  GenerationRehearsal(const Backend& ops, const ModelConfigs& configs, const ModelWeights& weights,
                      const ResolvedRequest& generation, Precision precision,
                      Quantization quantization, std::int64_t decoded_at_once = 1,
                      const WeightShare& share = {});

  /// Of the host's memory; `limit_bytes` as PlanRequest has it. `adapter_bytes` are of adapters,
  /// held through all stages.
  MemoryPlan on_host(std::uint64_t limit_bytes, std::uint64_t adapter_bytes = 0) const;
  /// The host's between requests: the program, copies of weights.
  std::uint64_t resting_bytes() const;
  /// Of a device's own, of which there are `limit_bytes`; `offload` as LoadOptions has it.
  MemoryPlan on_device(const std::string& offload, std::uint64_t limit_bytes) const;

 private:
  class Run;
  MemoryPlan keeping_all(std::uint64_t limit_bytes) const;
  MemoryPlan in_turn(const std::string& offload, std::uint64_t limit_bytes) const;

  const Backend& ops_;
  const ModelConfigs& configs_;
  const ModelWeights& weights_;
  ResolvedRequest generation_;
  Precision precision_;
  Quantization quantization_;
  std::int64_t decoded_at_once_;
  WeightShare share_;
};

/// What a device is told when a stage of a plan begins.
Backend::StageRoom stage_room(const MemoryPlan& plan, const StagePlan& stage);

/// Of a copy of the transformer's layers, quantised: by loading it in a rehearsal.
std::uint64_t quantized_copy_bytes(const Backend& ops, const ModelConfigs& configs,
                                   const ModelWeights& weights, Quantization quantization);

}  // namespace ernie_image
