// Which part of a schedule runs when a picture is given: strength 1 begins with pure noise, less
// keeps more of the picture.
#pragma once

#include <vector>

#include "ernie_image/request.h"
#include "sampling/scheduler.h"

namespace ernie_image {

/// The sigmas of the steps that run and a final 0. `strength` in (0, 1]; at 1 every mode gives the
/// whole schedule. Throws Error(invalid_argument) where no step is left.
///
/// With N steps asked for:
///   diffusers    the last N - int(N - N s)
///   sdcpp        the last min(int(N s), N - 1) + 1, N s in float
///   a1111        the same in double: 50 steps at 0.58 are 29, not 30
///   comfyui      always N: the last of a schedule of int(N / s)
///   exact        the first sigma is s; as many steps as the schedule has from there, at even
///                distances before the shift, the last of a fraction counting as one
std::vector<float> strength_sigmas(const SchedulerConfig& config, int num_inference_steps,
                                   double strength, StrengthMode mode);

}  // namespace ernie_image
