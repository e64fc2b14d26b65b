#include "sampling/scheduler.h"

#include <cassert>
#include <span>
#include <string>
#include <utility>

#include "core/half.h"
#include "ernie_image/error.h"
#include "ernie_image/request.h"

namespace ernie_image {
namespace {

// base_k = torch.linspace(1, 0, steps + 1)[k] in float, which works from both ends to the middle.
float base_sigma(int k, int steps) {
  const float increment = -1.0f / static_cast<float>(steps);
  if (k < (steps + 1) / 2) return 1.0f + increment * static_cast<float>(k);
  return -increment * static_cast<float>(steps - k);
}

void refuse(const JsonReader& config, const std::string& what) {
  throw Error(ErrorKind::unsupported,
              config.where() + ": " + what +
                  " is not supported: it changes the schedule, and ERNIE-Image does not use it");
}

void update_f32(float step_size, std::span<const float> velocity, std::span<float> latents) {
  for (std::size_t i = 0; i < latents.size(); ++i) latents[i] += step_size * velocity[i];
}

void update_bf16(float step_size, std::span<const std::uint16_t> velocity,
                 std::span<std::uint16_t> latents) {
  const float rounded_step_size = round_to_bf16(step_size);
  for (std::size_t i = 0; i < latents.size(); ++i) {
    const float change = round_to_bf16(rounded_step_size * bf16_to_float(velocity[i]));
    latents[i] = float_to_bf16(bf16_to_float(latents[i]) + change);
  }
}

}  // namespace

SchedulerConfig SchedulerConfig::read(const JsonReader& config) {
  constexpr const char* kClass = "FlowMatchEulerDiscreteScheduler";
  const std::string class_name = config.text("_class_name", kClass);
  if (class_name != kClass) {
    throw Error(ErrorKind::unsupported,
                config.where() + ": _class_name is '" + class_name + "', expected " + kClass);
  }
  for (const char* key : {"use_dynamic_shifting", "use_karras_sigmas", "use_exponential_sigmas",
                          "use_beta_sigmas", "invert_sigmas", "stochastic_sampling"}) {
    if (config.boolean(key, false)) refuse(config, std::string(key) + " = true");
  }
  if (config.number("shift_terminal", 0.0) != 0.0) refuse(config, "shift_terminal");
  SchedulerConfig result;
  result.shift = config.number("shift", result.shift);
  result.num_train_timesteps =
      config.integer("num_train_timesteps", result.num_train_timesteps, 1, 1'000'000);
  if (result.shift < 1e-3 || result.shift > 1e3) {
    throw Error(
        ErrorKind::corrupt_file,
        config.where() + ": shift is " + std::to_string(result.shift) + ", expected 0.001 to 1000");
  }
  return result;
}

float flow_sigma(const SchedulerConfig& config, int k, int steps) {
  const auto shift = static_cast<float>(config.shift);
  const auto shift_minus_one = static_cast<float>(config.shift - 1.0);
  const float base = base_sigma(k, steps);
  return shift * base / (1.0f + shift_minus_one * base);
}

FlowMatchEulerScheduler::FlowMatchEulerScheduler(const SchedulerConfig& config,
                                                 int num_inference_steps) {
  if (num_inference_steps < 1 || num_inference_steps > kMaxInferenceSteps) {
    throw Error(ErrorKind::invalid_argument,
                "num_inference_steps is " + std::to_string(num_inference_steps) +
                    ", expected 1 to " + std::to_string(kMaxInferenceSteps));
  }
  for (int k = 0; k < num_inference_steps; ++k)
    sigmas_.push_back(flow_sigma(config, k, num_inference_steps));
  sigmas_.push_back(0.0f);
  set_timesteps(config);
}

FlowMatchEulerScheduler::FlowMatchEulerScheduler(const SchedulerConfig& config,
                                                 std::vector<float> sigmas)
    : sigmas_(std::move(sigmas)) {
  assert(sigmas_.size() >= 2 && sigmas_.back() == 0.0f);
  set_timesteps(config);
}

void FlowMatchEulerScheduler::set_timesteps(const SchedulerConfig& config) {
  for (std::size_t i = 0; i + 1 < sigmas_.size(); ++i)
    timesteps_.push_back(sigmas_[i] * static_cast<float>(config.num_train_timesteps));
}

Tensor FlowMatchEulerScheduler::noised(const Tensor& picture, const Tensor& noise, int step) const {
  assert(picture.dtype() == noise.dtype() && noise.size() % picture.size() == 0);
  const DType dtype = noise.dtype();
  const float sigma = rounded(sigmas_[static_cast<std::size_t>(step)], dtype);
  const float rest = rounded(1.0f - sigma, dtype);
  const Tensor clean = to_float(picture), random = to_float(noise);
  Tensor result = Tensor::host(DType::f32, noise.shape());
  for (std::int64_t i = 0; i < noise.size() && !result.is_booked(); ++i) {
    const float kept = rounded(rest * clean.data<float>()[i % picture.size()], dtype);
    result.data<float>()[i] = rounded(sigma * random.data<float>()[i], dtype) + kept;
  }
  return round_to(result, dtype);
}

Tensor FlowMatchEulerScheduler::step(int step, const Tensor& velocity,
                                     const Tensor& latents) const {
  assert(step >= 0 && step + 1 < static_cast<int>(sigmas_.size()));
  assert(velocity.shape() == latents.shape() && velocity.dtype() == latents.dtype());
  const float step_size = sigmas_[step + 1] - sigmas_[step];
  if (latents.dtype() == DType::bf16) {
    Tensor next =
        Tensor::copy_of<std::uint16_t>(DType::bf16, latents.shape(), latents.span<std::uint16_t>());
    if (!next.is_booked())
      update_bf16(step_size, velocity.span<std::uint16_t>(), next.span<std::uint16_t>());
    return next;
  }
  Tensor next = Tensor::copy_of<float>(DType::f32, latents.shape(), latents.span<float>());
  if (!next.is_booked()) update_f32(step_size, velocity.span<float>(), next.span<float>());
  return next;
}

}  // namespace ernie_image
