// The latents that the last step of a run leaves.
#pragma once

#include <string>
#include <string_view>

#include "core/trace.h"

namespace ernie_image {

class FinalLatents : public TensorTrace {
 public:
  bool wants(std::string_view name) const override { return name == "latents.final"; }
  void record(const std::string&, const Tensor& host) override { latents = host; }
  Tensor latents;
};

}  // namespace ernie_image
