// Sends a model's intermediate tensors to the Trace, in the layouts of the reference.
#pragma once

#include <string>

#include "backend/backend.h"
#include "core/trace.h"

namespace ernie_image {

/// Cheap when nobody listens: a null trace, or a name that the trace does not want, costs one test.
class Tap {
 public:
  Tap(Backend& ops, Trace* trace, std::string prefix)
      : ops_(ops), trace_(trace), prefix_(std::move(prefix)) {}

  /// A tap under a longer prefix: "block0." inside "dit.".
  Tap at(const std::string& prefix) const { return {ops_, trace_, prefix_ + prefix}; }

  bool wants(const std::string& name) const {
    return trace_ != nullptr && trace_->wants(prefix_ + name);
  }

  /// The tensor as it is.
  void operator()(const std::string& name, const Tensor& tensor) const;

  /// A tensor that was computed on the host.
  void host(const std::string& name, const Tensor& tensor) const;

  /// [B, S, H], recorded as [S, B, H]: the reference keeps the transformer's tokens that way.
  void sequence_first(const std::string& name, const Tensor& tensor) const;

  /// [B, H, W, C], recorded as [B, C, H, W].
  void channels_first(const std::string& name, const Tensor& tensor) const;

 private:
  Backend& ops_;
  Trace* trace_;
  std::string prefix_;
};

}  // namespace ernie_image
