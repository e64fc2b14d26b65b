// What `inspect` says about a model folder.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "core/weight.h"
#include "ernie_image/pipeline.h"
#include "pipeline/memory_plan.h"

namespace ernie_image {

struct ComponentReport {
  std::string name;  ///< the folder's: "transformer"
  std::vector<Weight> tensors;

  std::int64_t parameters() const;
  std::uint64_t bytes() const;
  std::map<std::string, int> tensors_by_dtype() const;
};

struct ModelReport {
  ModelInfo info;
  std::vector<ComponentReport> components;
  PlanRequest planned;
  MemoryPlan plan;
  std::string problem;  ///< why the model cannot be loaded; empty if it can
};

/// Throws Error for a folder whose configs or weight headers cannot be read at all. `planned` gives
/// size (0: the model's own), dtype and limit of the memory plan.
ModelReport report_model(const std::string& model, PlanRequest planned);

/// `with_tensors` lists every tensor, not only sums.
nlohmann::json to_json(const ModelReport& report, bool with_tensors);
std::string to_text(const ModelReport& report, bool with_tensors);

}  // namespace ernie_image
