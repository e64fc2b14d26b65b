// The stages of a run as the device and the report see them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "memory/memory_plan.h"
#include "memory/memory_sampler.h"
#include "pipeline/resolve_request.h"

namespace ernie_image {

/// What is to be made, and in how much memory.
struct CheckedPlan {
  ResolvedRequest generation;
  MemoryPlan memory;  ///< of the host, or of a device with memory of its own
  bool is_on_device = false;

  /// Which pages of the files stay in the host's memory during a stage.
  ResidencyPlan pages(std::string_view stage) const;
};

/// Tells the device what begins and ends, and notes what each stage took beside what was planned.
class StageRecorder {
 public:
  /// All must outlive it.
  StageRecorder(Backend& ops, const CheckedPlan& plan, std::vector<StageMemory>& stages)
      : ops_(ops), plan_(plan), stages_(stages) {}

  void begin(std::string_view name);
  void finish(std::string_view name);

  /// Figures of the stages that are finished.
  std::uint64_t peak_activation_bytes() const { return peak_activation_bytes_; }

 private:
  Backend& ops_;
  const CheckedPlan& plan_;
  std::vector<StageMemory>& stages_;
  std::uint64_t peak_activation_bytes_ = 0;
  MemorySampler sampler_;
};

}  // namespace ernie_image
