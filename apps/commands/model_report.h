// What `inspect` says about a model folder.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "core/weight.h"
#include "ernie_image/pipeline.h"
#include "memory/memory_plan.h"
#include "pipeline/rehearsal.h"

namespace ernie_image {

struct ComponentReport {
  std::string name;  ///< the folder's: "transformer"
  std::vector<Weight> tensors;

  std::int64_t parameters() const;
  std::uint64_t bytes() const;
  /// By element type, or "int8" and "int4" for packed weights.
  std::map<std::string, int> tensors_by_dtype() const;
  /// Bytes of the packed weights, "int8" and "int4".
  std::map<std::string, std::uint64_t> packed_bytes() const;
};

/// What `inspect --verify` found.
struct Verification {
  std::size_t files = 0;
  std::uint64_t bytes = 0;
  std::vector<std::string> damaged;  ///< with what is wrong
};

struct ModelReport {
  ModelInfo info;
  std::vector<ComponentReport> components;
  PlanRequest planned;
  MemoryPlan plan;
  std::string device = "cpu";
  std::optional<MemoryPlan> device_plan;  ///< of a device with memory of its own
  std::optional<Verification> verification;
  std::string problem;  ///< why the model cannot be loaded; empty if it can
};

/// Throws Error for a folder whose configs or weight headers cannot be read at all. `planned` gives
/// size (0: the model's own), dtype and limit of the memory plan; `load` the model, the device and
/// when weights leave it.
ModelReport report_model(const LoadOptions& load, PlanRequest planned);

/// Compares every file with the checksums that `quantize` wrote down; damage is a problem of the
/// model. Throws Error(not_found) for a folder without checksums.
void verify_files(ModelReport& report);

/// `with_tensors` lists every tensor, not only sums.
nlohmann::json to_json(const ModelReport& report, bool with_tensors);
std::string to_text(const ModelReport& report, bool with_tensors);

}  // namespace ernie_image
