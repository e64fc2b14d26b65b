#include "pipeline/stage_recorder.h"

#include <algorithm>

namespace ernie_image {

void StageRecorder::begin(std::string_view name) {
  if (!plan_.device) return;
  ops_.release_cache();
  ops_.begin_stage(plan_.device->stage(name).activation_bytes + plan_.device->workspace_bytes);
  ops_.reset_peak_memory();
}

void StageRecorder::finish(std::string_view name) {
  ops_.end_stage();
  stages_.push_back(plan_.device ? on_device(plan_.device->stage(name))
                                 : on_host(plan_.memory.stage(name)));
  peak_activation_bytes_ =
      std::max<std::uint64_t>(peak_activation_bytes_, ops_.peak_memory_bytes());
  sampler_.restart();
}

StageMemory StageRecorder::on_host(const PlanStage& stage) {
  StageMemory memory = stage_memory(stage, plan_.memory.stage_bytes(stage));
  memory.measured_bytes = sampler_.peak().total_bytes;
  return memory;
}

StageMemory StageRecorder::on_device(const DeviceStage& stage) const {
  return {stage.name, plan_.device->stage_bytes(stage), ops_.device_memory()->peak_bytes,
          static_cast<int>(stage.layers), static_cast<int>(stage.streams ? stage.layers : 0)};
}

}  // namespace ernie_image
