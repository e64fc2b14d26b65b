// Makes a plan fit its limit: which layers stay in memory, which are streamed, and what to say when
// not even that helps.
#include <algorithm>

#include "core/byte_counts.h"
#include "ernie_image/error.h"
#include "memory/memory_limit.h"
#include "memory/memory_plan.h"

namespace ernie_image {
namespace {

// The in-use layer and one that is read meanwhile. More would not read any faster: the reader is
// never idle as long as the disk is the slower of the two.
constexpr std::int64_t kWindowLayers = 2;

/// Which layers stay and which are streamed, so that the stage's mapped weights take at most
/// `room`.
void fit_weights(PlanStage& stage, std::uint64_t room) {
  if (stage.mapped_bytes() <= room) return;
  ResidencyPlan& residency = stage.residency;
  const std::uint64_t for_layers = minus(room, stage.fixed_bytes);
  const auto places =
      static_cast<std::int64_t>(stage.layer_bytes == 0 ? 0 : for_layers / stage.layer_bytes);
  residency.window_layers = std::clamp<std::int64_t>(places, 1, kWindowLayers);
  residency.resident_layers = std::max<std::int64_t>(places - residency.window_layers, 0);
  stage.fits = stage.fixed_bytes <= room && (residency.layers == 0 || places >= 1);
}

std::string advice(const PlanStage& stage) {
  if (stage.name == "pe")
    return "allow fewer new tokens, use --dtype bf16, raise --memory-limit, or run with "
           "--no-enhance";
  return "ask for fewer images at once, a smaller picture, --dtype bf16, or raise --memory-limit";
}

[[noreturn]] void refuse(const PlanStage& stage, std::uint64_t own, std::uint64_t limit) {
  const std::uint64_t layer = stage.residency.layers == 0 ? 0 : stage.layer_bytes;
  throw Error(ErrorKind::out_of_memory,
              "the " + (stage.name == "pe" ? std::string("prompt enhancer") : stage.name) +
                  " does not fit into " + gib(limit) + " of memory: it needs " +
                  gib(stage.activation_bytes) + " for activations, at least " +
                  gib(stage.fixed_bytes + layer) + " for weights, even one layer at a time, and " +
                  gib(own) + " for the program and copies of weights; " + advice(stage));
}

}  // namespace

void fit_stage(PlanStage& stage, std::uint64_t limit_bytes, std::uint64_t own_bytes) {
  stage.fits = own_bytes <= limit_bytes;
  if (stage.fits) fit_weights(stage, limit_bytes - own_bytes);
  // What is read again in the next step is worth keeping in the page cache if all of it can be.
  if (stage.mapped_bytes() > minus(system_memory_limit(), own_bytes))
    stage.residency.streamed = PageCache::drop;
}

void drop_done_components(MemoryPlan& plan) {
  std::uint64_t all = plan.peak_activation_bytes();
  for (const PlanStage& stage : plan.stages) all += stage.mapped_bytes();
  if (all <= system_memory_limit()) return;
  for (PlanStage& stage : plan.stages) stage.residency.done = PageCache::drop;
}

void require_fit(const MemoryPlan& plan) {
  for (const PlanStage& stage : plan.stages) {
    if (stage.fits) continue;
    const std::uint64_t own =
        plan.stage_bytes(stage) - stage.resident_bytes() - stage.activation_bytes;
    refuse(stage, own, plan.limit_bytes);
  }
}

void require_enhancer_fit(const PlanStage& stage, std::uint64_t room_bytes) {
  if (!stage.fits) refuse(stage, stage.copied_bytes, room_bytes);
}

void require_quantized_fit(const WeightFiles& transformer, Quantization quantization) {
  const std::uint64_t needed = quantized_layers_bytes(transformer, quantization);
  const std::uint64_t available = available_memory_bytes();
  if (needed <= available) return;
  throw Error(ErrorKind::out_of_memory,
              "the quantised weights of the transformer need " + gib(needed) + " and " +
                  gib(available) +
                  " is available; use --quant int4, or --quant none, which maps the weights from "
                  "their file");
}

}  // namespace ernie_image
