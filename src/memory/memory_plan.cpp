#include "memory/memory_plan.h"

#include <algorithm>
#include <cassert>

#include "core/byte_counts.h"
#include "ernie_image/error.h"
#include "memory/memory_limit.h"

namespace ernie_image {

const StagePlan& MemoryPlan::stage(std::string_view name) const {
  const auto found = std::ranges::find(stages, name, &StagePlan::name);
  assert(found != stages.end());
  return *found;
}

std::uint64_t MemoryPlan::peak_bytes() const {
  std::uint64_t peak = 0;
  for (const StagePlan& stage : stages) peak = std::max(peak, stage.total_bytes);
  return peak;
}

std::uint64_t MemoryPlan::peak_activation_bytes() const {
  std::uint64_t peak = 0;
  for (const StagePlan& stage : stages) peak = std::max(peak, stage.peak.activations);
  return peak;
}

std::uint64_t MemoryPlan::least_bytes() const {
  std::uint64_t least = 0;
  for (const StagePlan& stage : stages) least = std::max(least, stage.least_bytes);
  return least;
}

void drop_what_cannot_stay(MemoryPlan& plan) {
  const std::uint64_t system = system_memory_limit();
  std::uint64_t all = plan.program_bytes + plan.peak_activation_bytes();
  for (StagePlan& stage : plan.stages) {
    all += stage.weight_bytes;
    const std::uint64_t own = stage.total_bytes - stage.peak.weights;
    if (own + stage.weight_bytes > system) stage.residency.streamed = PageCache::drop;
  }
  if (all <= system) return;
  for (StagePlan& stage : plan.stages) stage.residency.done = PageCache::drop;
}

void require_fit(const MemoryPlan& plan, const std::string& where) {
  for (const StagePlan& stage : plan.stages) {
    if (stage.fits) continue;
    const bool enhancer = stage.name == "pe";
    throw Error(
        ErrorKind::out_of_memory,
        "the " + (enhancer ? std::string("prompt enhancer") : stage.name) + " does not fit into " +
            binary_size(plan.limit_bytes) + " of " + where + ": it needs at least " +
            binary_size(stage.least_bytes) +
            (stage.residency.layers > 0 ? ", even one layer at a time" : "") + " (" +
            binary_size(stage.peak.activations) + " for activations, " +
            binary_size(stage.peak.weights) + " for weights, " + binary_size(stage.peak.copies) +
            " for copies of weights), and all stages " + binary_size(plan.least_bytes()) + "; " +
            (enhancer ? "allow fewer new tokens, use --dtype bf16, raise --memory-limit, or "
                        "run with --no-enhance"
                      : "ask for fewer images at once, a smaller picture, --dtype bf16, " +
                            std::string(where == "memory" ? "or raise --memory-limit"
                                                          : "or --offload auto or layers")));
  }
}

StageMemory stage_memory(const StagePlan& stage) {
  const ResidencyPlan& residency = stage.residency;
  return {stage.name, stage.total_bytes, 0, static_cast<int>(residency.layers),
          static_cast<int>(residency.layers - residency.resident_layers)};
}

}  // namespace ernie_image
