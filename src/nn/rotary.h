// Rotary position tables of the two model families, computed on the host in float.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "core/tensor.h"

namespace ernie_image {

/// One token's position on the transformer's three axes: (text length or text index, y, x).
using Position3 = std::array<float, 3>;

/// Angles of ERNIE-Image's 3-axis RoPE: [R, S, D] from positions [R][S]. Axis a takes axes_dim[a]
/// of the D channels, with omega_j = theta^-(2j / axes_dim[a]); the D/2 angles are duplicated in
/// place, [a0, a0, a1, a1, ...], although the rotation that uses them is the half-split one: this
/// is what the weights were trained with. Reference: diffusers transformer_ernie_image.py,
/// ErnieImageEmbedND3.
Tensor axes_rope_angles(std::span<const std::vector<Position3>> positions, float theta,
                        const std::array<int, 3>& axes_dim);

/// Ministral's rope_parameters.
struct RopeParameters {
  bool yarn = true;  ///< false: plain RoPE, no blending
  double theta = 1e6;
  double factor = 16.0;
  std::int64_t original_max_position_embeddings = 16384;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  double attention_factor = 1.0;      ///< multiplies cos and sin
  double llama_4_scaling_beta = 0.0;  ///< 0: queries are not scaled
  bool truncate = true;
};

/// Inverse frequencies [head_dim / 2]: YaRN blends 1 / theta^(2j/d) with the same divided by
/// `factor`, at every position. Reference: "YaRN: Efficient Context Window Extension of Large
/// Language Models", section 3.2.
std::vector<float> yarn_inverse_frequencies(const RopeParameters& rope, std::int64_t head_dim);

/// Angles [1, S, D] of positions first, first + 1, ...; the D/2 angles are repeated as two halves.
Tensor yarn_rope_angles(const RopeParameters& rope, std::int64_t head_dim,
                        std::int64_t first_position, std::int64_t count);

/// 1 + beta ln(1 + floor(position / original_max_position_embeddings)): [1, S].
Tensor llama_4_query_scale(const RopeParameters& rope, std::int64_t first_position,
                           std::int64_t count);

/// cos and sin of the angles times `scale`, rounded to `dtype` (but stored as float, as RotaryTable
/// wants), on the backend.
RotaryTable make_rotary_table(Backend& ops, const Tensor& angles, float scale, DType dtype,
                              const Tensor& row_scale = {});

}  // namespace ernie_image
