// --save-tensors: keeps the tensors of a run under the golden cases' names.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/trace.h"

namespace ernie_image {

/// Of a name recorded more than once (a block runs in every step) the first is kept, as in the
/// golden cases.
class TensorCollector : public TensorTrace {
 public:
  /// `blocks` keeps every dit.* and vae.* tensor too, not only each stage's inputs and outputs.
  explicit TensorCollector(bool blocks) : blocks_(blocks) {}

  bool wants(std::string_view name) const override;
  void record(const std::string& name, const Tensor& host) override;

  /// In the order of the run.
  const std::vector<std::pair<std::string, Tensor>>& tensors() const { return tensors_; }

 private:
  bool has(std::string_view name) const;

  bool blocks_;
  std::vector<std::pair<std::string, Tensor>> tensors_;
};

}  // namespace ernie_image
