// Looks at the latents of a run, for previews.
#pragma once

#include <vector>

#include "core/trace.h"

namespace ernie_image {

/// Keeps the latents before and after the last step; both are shared with the pipeline, not copied.
class LatentsTrace final : public TensorTrace {
 public:
  bool wants(std::string_view name) const override;
  void record(const std::string& name, const Tensor& host) override;

  /// What the finished latents of image `index` will be by the last step's direction, [C, h, w]:
  /// x - sigma v, the velocity v being the difference of two latents over that of their sigmas. To
  /// be called after a step.
  std::vector<float> denoised(int index) const;

  /// [images, C, h, w]
  const Tensor& latents() const { return after_; }

 private:
  Tensor sigmas_;
  Tensor before_;
  Tensor after_;
  int steps_ = 0;  // finished
};

/// Image `index` of [images, C, h, w], as floats.
std::vector<float> image_latents(const Tensor& latents, int index);

}  // namespace ernie_image
