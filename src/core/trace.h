// The one hook through which tests, evaluation and --save-tensors see intermediate tensors.
#pragma once

#include <string>
#include <string_view>

#include "core/tensor.h"

namespace ernie_image {

/// Receives named host tensors, under the names of the golden cases: "step3.latents",
/// "dit.block0.input"... The tensors may be kept: nobody writes to them afterwards.
class Trace {
 public:
  virtual ~Trace() = default;

  /// Asked first, so that a tensor nobody wants is neither downloaded nor copied.
  virtual bool wants(std::string_view name) const = 0;

  virtual void record(const std::string& name, const Tensor& host) = 0;
};

}  // namespace ernie_image
