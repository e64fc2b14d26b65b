// Classifier-free guidance.
#pragma once

#include "core/tensor.h"

namespace ernie_image {

/// negative + guidance_scale * (positive - negative) of host tensors, each of the three operations
/// rounded to their type. Reference: "Classifier-Free Diffusion Guidance", equation 6, as diffusers
/// pipeline_ernie_image.py writes it.
Tensor apply_guidance(const Tensor& negative, const Tensor& positive, double guidance_scale);

}  // namespace ernie_image
