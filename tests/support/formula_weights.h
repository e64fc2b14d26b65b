// Weights of the full-width golden cases, computed from their names (tests/data/reference/spec.md,
// section 11).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "core/weight.h"

namespace ernie_image::golden {

/// bf16 host tensor: value i = bf16((2 (z >> 48) / 65536 - 1) * amp + offset), z a hash of name and
/// i.
Tensor formula_tensor(const std::string& name, const Shape& shape, float amp, float offset = 0.0f);

/// Serves the tensors of a case's `weight_table`.
class FormulaWeights : public WeightSource {
 public:
  explicit FormulaWeights(nlohmann::json weight_table) : table_(std::move(weight_table)) {}

  bool contains(std::string_view name) const override { return table_.contains(std::string(name)); }
  Weight get(const std::string& name, const Shape& expected_shape) override;
  void require_complete() const override {}
  std::vector<std::string> unused() const override { return {}; }
  void release_pages() const override {}

 private:
  nlohmann::json table_;
};

}  // namespace ernie_image::golden
