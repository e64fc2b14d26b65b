#include "jobs/latents_trace.h"

#include <algorithm>

namespace ernie_image {

bool LatentsTrace::wants(std::string_view name) const {
  return name == "scheduler.sigmas" || name == "latents.initial" ||
         (name.starts_with("step") && name.ends_with(".latents"));
}

void LatentsTrace::record(const std::string& name, const Tensor& host) {
  if (name == "scheduler.sigmas") {
    sigmas_ = host;
    return;
  }
  before_ = after_;
  after_ = host;
  steps_ = name == "latents.initial" ? 0 : steps_ + 1;
}

std::vector<float> LatentsTrace::denoised(int index) const {
  std::vector<float> latents = image_latents(after_, index);
  const std::vector<float> before = image_latents(before_, index);
  const float* sigma = sigmas_.data<float>() + steps_;  // of `latents`
  const float ahead = sigma[0] / (sigma[0] - sigma[-1]);
  for (std::size_t i = 0; i < latents.size(); ++i) latents[i] -= ahead * (latents[i] - before[i]);
  return latents;
}

std::vector<float> image_latents(const Tensor& latents, int index) {
  const Tensor values = to_float(latents.slice(index, 1));
  const auto span = values.span<float>();
  return {span.begin(), span.end()};
}

}  // namespace ernie_image
