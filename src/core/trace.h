// The hook through which tests, evaluation and --save-tensors see intermediate tensors: the public
// one, and the project's own way to it.
#pragma once

#include <string>

#include "core/tensor.h"
#include "ernie_image/trace.h"

namespace ernie_image {

/// A trace of the project's own, which takes the tensors as they are.
class TensorTrace : public Trace {
 public:
  virtual void record(const std::string& name, const Tensor& host) = 0;

 private:
  void record(const std::string& name, const TracedTensor& tensor) final;
};

/// Hands a host tensor to a trace of either kind.
void record_tensor(Trace& trace, const std::string& name, const Tensor& host);

}  // namespace ernie_image
