#include "nn/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/half.h"

namespace ernie_image {
namespace {

/// The (fractional) channel pair that makes `rotations` full turns within the original context.
double correction_dim(const RopeParameters& rope, std::int64_t head_dim, double rotations) {
  const double context = static_cast<double>(rope.original_max_position_embeddings);
  return static_cast<double>(head_dim) * std::log(context / (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(rope.theta));
}

/// 0 below `low`, 1 above `high`, in float as the reference computes it.
float ramp(double low, double high, std::int64_t j) {
  const float position =
      (static_cast<float>(j) - static_cast<float>(low)) / static_cast<float>(high - low);
  return std::clamp(position, 0.0f, 1.0f);
}

}  // namespace

Tensor axes_rope_angles(std::span<const std::vector<Position3>> positions, float theta,
                        const std::array<int, 3>& axes_dim) {
  std::vector<float> omega;  // all axes' frequencies, [D / 2]
  std::vector<std::size_t> axis_of;
  for (std::size_t axis = 0; axis < 3; ++axis) {
    for (int j = 0; j < axes_dim[axis]; j += 2) {
      omega.push_back(1.0f /
                      std::pow(theta, static_cast<float>(j) / static_cast<float>(axes_dim[axis])));
      axis_of.push_back(axis);
    }
  }
  const auto rows = static_cast<std::int64_t>(positions.size());
  const auto tokens = static_cast<std::int64_t>(positions[0].size());
  Tensor angles =
      Tensor::host(DType::f32, {rows, tokens, static_cast<std::int64_t>(2 * omega.size())});
  if (angles.is_booked()) return angles;
  float* out = angles.data<float>();
  for (const std::vector<Position3>& row : positions) {
    for (const Position3& position : row) {
      for (std::size_t j = 0; j < omega.size(); ++j) {
        const float angle = position[axis_of[j]] * omega[j];
        *out++ = angle;
        *out++ = angle;
      }
    }
  }
  return angles;
}

std::vector<float> yarn_inverse_frequencies(const RopeParameters& rope, std::int64_t head_dim) {
  double low = 0;
  double high = 0;
  if (rope.yarn) {
    low = correction_dim(rope, head_dim, rope.beta_fast);
    high = correction_dim(rope, head_dim, rope.beta_slow);
    if (rope.truncate) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, static_cast<double>(head_dim - 1));
    if (low == high) high += 0.001;
  }
  std::vector<float> frequencies(static_cast<std::size_t>(head_dim / 2));
  for (std::int64_t j = 0; j < head_dim / 2; ++j) {
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(head_dim);
    const float position_frequency = std::pow(static_cast<float>(rope.theta), exponent);
    const float extrapolated = 1.0f / position_frequency;
    const float interpolated = 1.0f / (static_cast<float>(rope.factor) * position_frequency);
    const float extrapolation = rope.yarn ? 1.0f - ramp(low, high, j) : 1.0f;
    frequencies[static_cast<std::size_t>(j)] =
        interpolated * (1.0f - extrapolation) + extrapolated * extrapolation;
  }
  return frequencies;
}

Tensor yarn_rope_angles(const RopeParameters& rope, std::int64_t head_dim,
                        std::int64_t first_position, std::int64_t count) {
  const std::vector<float> frequencies = yarn_inverse_frequencies(rope, head_dim);
  Tensor angles = Tensor::host(DType::f32, {1, count, head_dim});
  if (angles.is_booked()) return angles;
  float* out = angles.data<float>();
  for (std::int64_t i = 0; i < count; ++i) {
    const auto position = static_cast<float>(first_position + i);
    for (int half = 0; half < 2; ++half) {
      for (const float frequency : frequencies) *out++ = position * frequency;
    }
  }
  return angles;
}

Tensor llama_4_query_scale(const RopeParameters& rope, std::int64_t first_position,
                           std::int64_t count) {
  Tensor scale = Tensor::host(DType::f32, {1, count});
  if (scale.is_booked()) return scale;
  const auto context = static_cast<float>(rope.original_max_position_embeddings);
  for (std::int64_t i = 0; i < count; ++i) {
    const float periods = std::floor(static_cast<float>(first_position + i) / context);
    scale.data<float>()[i] =
        1.0f + static_cast<float>(rope.llama_4_scaling_beta) * std::log(1.0f + periods);
  }
  return scale;
}

RotaryTable make_rotary_table(Backend& ops, const Tensor& angles, float scale, DType dtype,
                              const Tensor& row_scale) {
  Tensor cos = Tensor::host(DType::f32, angles.shape());
  Tensor sin = Tensor::host(DType::f32, angles.shape());
  const float* angle = angles.data<float>();
  for (std::int64_t i = 0; i < angles.size() && !angles.is_booked(); ++i) {
    cos.data<float>()[i] = rounded(std::cos(angle[i]) * scale, dtype);
    sin.data<float>()[i] = rounded(std::sin(angle[i]) * scale, dtype);
  }
  RotaryTable table{ops.upload(cos), ops.upload(sin), {}};
  if (!row_scale.empty()) {
    Tensor scales = Tensor::host(DType::f32, row_scale.shape());
    for (std::int64_t i = 0; i < scales.size() && !scales.is_booked(); ++i) {
      scales.data<float>()[i] = rounded(row_scale.data<float>()[i], dtype);
    }
    table.row_scale = ops.upload(scales);
  }
  return table;
}

}  // namespace ernie_image
