#include "sampling/strength.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <string>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

/// ComfyUI takes this and more for the whole schedule.
constexpr double kComfyWhole = 0.9999;
/// More steps than that a schedule is not cut finer.
constexpr double kMaxFineSteps = 1e6;

/// Steps that run of those asked for, in the modes that leave out the first.
int steps_left(int steps, double strength, StrengthMode mode) {
  if (mode == StrengthMode::diffusers) {
    const double wanted = std::min(steps * strength, static_cast<double>(steps));
    return steps - static_cast<int>(std::max(steps - wanted, 0.0));
  }
  const auto product =
      mode == StrengthMode::sdcpp
          ? static_cast<int>(static_cast<float>(steps) * static_cast<float>(strength))
          : static_cast<int>(steps * strength);
  return std::min(product, steps - 1) + 1;
}

/// The last `count` sigmas of a schedule of `steps`, and 0.
std::vector<float> tail(const SchedulerConfig& config, int steps, int count) {
  std::vector<float> sigmas;
  for (int k = steps - count; k < steps; ++k) sigmas.push_back(flow_sigma(config, k, steps));
  sigmas.push_back(0.0f);
  return sigmas;
}

std::vector<float> from_sigma(const SchedulerConfig& config, int steps, double sigma) {
  const double base = sigma / (config.shift - (config.shift - 1.0) * sigma);  // before the shift
  const int count = std::max(1, static_cast<int>(std::ceil(steps * base - 1e-9)));
  std::vector<float> sigmas = {static_cast<float>(sigma)};
  for (int k = 1; k < count; ++k) {
    const double fraction = base * (count - k) / count;
    sigmas.push_back(
        static_cast<float>(config.shift * fraction / (1.0 + (config.shift - 1.0) * fraction)));
  }
  sigmas.push_back(0.0f);
  return sigmas;
}

}  // namespace

std::vector<float> strength_sigmas(const SchedulerConfig& config, int num_inference_steps,
                                   double strength, StrengthMode mode) {
  assert(strength > 0.0 && strength <= 1.0);
  const int steps = num_inference_steps;
  if (strength == 1.0) return tail(config, steps, steps);
  if (mode == StrengthMode::exact) return from_sigma(config, steps, strength);
  if (mode == StrengthMode::comfyui) {
    const double fine = strength > kComfyWhole ? steps : std::min(steps / strength, kMaxFineSteps);
    return tail(config, static_cast<int>(fine), steps);
  }
  const int count = steps_left(steps, strength, mode);
  if (count == 0) {
    throw Error(ErrorKind::invalid_argument, "the strength " + std::to_string(strength) +
                                                 " leaves none of " + std::to_string(steps) +
                                                 " steps; ask for more of either");
  }
  return tail(config, steps, count);
}

}  // namespace ernie_image
