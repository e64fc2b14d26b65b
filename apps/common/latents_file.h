// --latents: initial latents from a safetensors file.
#pragma once

#include <string>
#include <vector>

#include "ernie_image/pipeline.h"

namespace ernie_image {

/// The tensor `latents.initial` (f32, f16 or bf16), whose shape must be [images, C, h, w] of
/// `request` on the model of `info`. Throws Error(not_found | corrupt_file | invalid_argument).
std::vector<float> read_latents(const std::string& path, const Request& request,
                                const ModelInfo& info);

/// SHA-256, hex, over the values as little-endian floats.
std::string latents_hash(const std::vector<float>& latents);

}  // namespace ernie_image
