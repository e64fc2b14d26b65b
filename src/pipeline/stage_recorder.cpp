#include "pipeline/stage_recorder.h"

#include <algorithm>

#include "memory/memory_limit.h"
#include "pipeline/rehearsal.h"

namespace ernie_image {

/// Beside a device the host's pages come and go as it likes, as long as it has room for all.
ResidencyPlan CheckedPlan::pages(std::string_view stage) const {
  ResidencyPlan pages = memory.stage(stage).residency;
  if (!is_on_device) return pages;
  pages.resident_layers = pages.layers;
  std::uint64_t all = 0;
  for (const StagePlan& other : memory.stages) all += other.weight_bytes;
  if (all > system_memory_limit()) pages.done = PageCache::drop;
  return pages;
}

void StageRecorder::begin(std::string_view name) {
  ops_.release_cache();
  ops_.begin_stage(stage_room(plan_.memory, plan_.memory.stage(name)));
  ops_.reset_peak_memory();
}

void StageRecorder::finish(std::string_view name) {
  ops_.end_stage();
  StageMemory memory = stage_memory(plan_.memory.stage(name));
  memory.measured_bytes =
      plan_.is_on_device ? ops_.device_memory()->peak_bytes : sampler_.peak().total_bytes;
  stages_.push_back(memory);
  peak_activation_bytes_ =
      std::max<std::uint64_t>(peak_activation_bytes_, ops_.peak_memory_bytes());
  sampler_.restart();
}

}  // namespace ernie_image
