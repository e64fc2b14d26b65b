// What a Pipeline holds, for the two files that are its implementation.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "adapters/adapter_attachment.h"
#include "adapters/adapter_store.h"
#include "backend/parallel.h"
#include "backend/registry.h"
#include "checkpoint/model.h"
#include "ernie_image/pipeline.h"
#include "pipeline/adapter_targets.h"
#include "pipeline/card_group.h"
#include "pipeline/generation.h"
#include "pipeline/rehearsal.h"
#include "pipeline/stage_recorder.h"

namespace ernie_image {

/// A loaded model on one card, or on the processor, and on its further cards.
struct Pipeline::State {
  State(const LoadOptions& options, const WeightShare& share);

  /// The model on the one device that `options` name.
  static Pipeline load(const LoadOptions& options, const WeightShare& share);

  Precision precision;
  DType dtype;  // of the tensors between operations
  Quantization quantization;
  std::uint64_t memory_limit_bytes;
  Parallel parallel;
  WeightShare share;
  const DeviceKind& kind;
  std::string offload;
  std::unique_ptr<Backend> backend;
  Model model;
  ModelInfo info;
  std::vector<Pipeline> replicas;         // on the further cards
  std::map<Together, CardGroups> groups;  // connected when first needed; gone before the cards
  TextCache text_cache;
  AdapterTargets targets;
  AdapterStore adapters;
  AdapterAttachment transformer_adapters;
  AdapterAttachment text_encoder_adapters;

  Request with_model_defaults(const Request& request) const;
  Tensor noise_of(const Request& request) const;
  std::vector<Request> runs_to_check(const Request& request) const;
  Result generate_large(Pipeline& pipeline, const Request& request);
  Result generate_boxes(Pipeline& pipeline, const Request& request);
  std::vector<ActiveAdapter> open_adapters(const Request& request);
  void attach(const std::vector<ActiveAdapter>& active);
  Networks networks();
  CheckedPlan checked_plan(const Request& request, const std::vector<ActiveAdapter>& active) const;
  MemoryPlan plan_memory(const ResolvedRequest& generation, std::int64_t decoded_at_once,
                         std::uint64_t adapter_bytes) const;
  std::uint64_t resting_bytes() const;
  void run_alone(const std::string& stage, const ResolvedRequest& plan,
                 std::shared_ptr<const CancelToken> token,
                 const std::function<void(const DecodeBands&)>& work);
  bool is_split(const Request& request) const;
  std::vector<Request> parts_of(const Request& request) const;
  std::vector<Request> parts_by_adapters(const Request& request) const;
  Result run(const Request& request, const SharedRun* shared = nullptr);
  Together together(const Request& request) const;
  void require_shareable(std::size_t cards) const;
  Result run_shared(const Request& request, Together how);
};

}  // namespace ernie_image
