// What lives in a device's own memory and when, where the device has some: the counterpart of
// memory_plan.h, which counts pages of the host.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/registry.h"
#include "memory/memory_plan.h"

namespace ernie_image {

/// One stage. A device holds copies of the weights, layer by layer.
struct DeviceStage {
  std::string name;  ///< "text_encoder", "transformer", "vae"
  std::uint64_t activation_bytes = 0;
  std::uint64_t whole_activation_bytes = 0;  ///< of the decoder without bands
  std::uint64_t fixed_bytes = 0;             ///< weights that are in no layer
  std::uint64_t layer_bytes = 0;             ///< of the largest layer
  std::uint64_t layers_bytes = 0;
  std::uint64_t scratch_bytes = 0;  ///< while a weight is brought into its form
  std::int64_t layers = 0;
  bool streams = false;
  bool fits = true;

  std::uint64_t weight_bytes() const { return fixed_bytes + layers_bytes; }
  /// At a time: a streamed layer in use, and the next one.
  std::uint64_t resident_bytes() const;
};

struct DevicePlan {
  std::vector<DeviceStage> stages;
  std::uint64_t limit_bytes = 0;      ///< that this program can hold there
  std::uint64_t workspace_bytes = 0;  ///< of single operations
  bool keeps_all = false;             ///< the weights of all stages stay

  const DeviceStage& stage(std::string_view name) const;
  std::uint64_t stage_bytes(const DeviceStage& stage) const;
  std::uint64_t peak_bytes() const;
};

/// `offload` as LoadOptions has it; `limit_bytes` is what this program holds there and what is
/// free.
DevicePlan plan_device(const ModelConfigs& configs, const ModelWeights& weights,
                       const PlanRequest& request, const std::string& offload,
                       std::uint64_t limit_bytes, const DeviceHabits& habits);

/// Throws Error(out_of_memory) with the numbers and what would make it fit.
void require_device_fit(const DevicePlan& plan, const std::string& device);

/// How large the decoder's activations may be in the count of vae_memory.h, above which it makes
/// bands; the device holds more tensors at a time than that counts.
std::uint64_t device_decode_limit(const DevicePlan& plan, const VaeConfig& config,
                                  const PlanRequest& request);

}  // namespace ernie_image
