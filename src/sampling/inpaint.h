// What a mask does: latents of the picture held in place from step to step, and its pixels at the
// end. Reference: diffusers pipeline_flux2_klein_inpaint.py.
#pragma once

#include <cstdint>
#include <span>

#include "core/tensor.h"
#include "ernie_image/image.h"

namespace ernie_image {

/// The mask of latents, f32 [h, w] from 0 to 1: of the pixels below a latent, `factor` each way,
/// the one that is drawn anew most, so that nothing of what was there is left in it.
Tensor latent_mask(std::span<const std::uint8_t> mask, std::int64_t height, std::int64_t width,
                   std::int64_t factor);

/// mask * latents + (1 - mask) * kept, in float, rounded once to the type of the latents [images,
/// C, h, w]; where the mask is 1 or 0 exactly one of them.
Tensor blended(const Tensor& latents, const Tensor& kept, const Tensor& mask);

/// The same of pixels, the mask in 1/255; sizes must agree.
void put_back(Image& drawn, const Image& kept, std::span<const std::uint8_t> mask);

}  // namespace ernie_image
