// The flow-matching Euler schedule.
// Reference: diffusers scheduling_flow_match_euler_discrete.py, FlowMatchEulerDiscreteScheduler
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "io/json_reader.h"

namespace ernie_image {

/// scheduler_config.json; the defaults are the reference class's.
struct SchedulerConfig {
  double shift = 1.0;
  std::int64_t num_train_timesteps = 1000;

  /// Throws Error(unsupported) for another class and for each switch that would change the schedule
  /// and that ERNIE-Image checkpoints leave off, Error(corrupt_file) for values out of range.
  static SchedulerConfig read(const JsonReader& config);
};

/// Sigma number k of a schedule of `steps`, from 1 for k = 0.
float flow_sigma(const SchedulerConfig& config, int k, int steps);

class FlowMatchEulerScheduler {
 public:
  /// Throws Error(invalid_argument) unless num_inference_steps is 1 to kMaxInferenceSteps.
  FlowMatchEulerScheduler(const SchedulerConfig& config, int num_inference_steps);

  /// Of given sigmas, falling to a final 0: a part of a schedule (strength.h).
  FlowMatchEulerScheduler(const SchedulerConfig& config, std::vector<float> sigmas);

  /// [steps + 1], from 1 (pure noise) down to a final 0.
  const std::vector<float>& sigmas() const { return sigmas_; }
  /// [steps], sigma * num_train_timesteps. A model in bf16 is fed these rounded to bf16.
  const std::vector<float>& timesteps() const { return timesteps_; }

  /// latents + (sigma[step + 1] - sigma[step]) * velocity. Host tensors of one shape and type, f32
  /// or bf16. In bf16 the step size and the product are rounded before the sum is.
  Tensor step(int step, const Tensor& velocity, const Tensor& latents) const;

  /// What step `step` begins with: the latents of a picture and noise, sigma * noise + (1 - sigma)
  /// * picture, as the reference's scale_noise; one step past the last the picture itself. Host
  /// tensors of one type and [images, ...]; one picture stands for all images. In bf16 sigma, 1 -
  /// sigma, both products and the sum are rounded.
  Tensor noised(const Tensor& picture, const Tensor& noise, int step = 0) const;

 private:
  void set_timesteps(const SchedulerConfig& config);

  std::vector<float> sigmas_;
  std::vector<float> timesteps_;
};

}  // namespace ernie_image
