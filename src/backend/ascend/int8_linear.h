// Linear layers of int8: codes and a scale for each row on both sides, products of integers.
#pragma once

#include <string>

#include "backend/ascend/call.h"

namespace ernie_image::ascend {

/// Rows as integers.
struct Int8Rows {
  Tensor codes;   ///< i8 [rows, K], -127..127
  Tensor scales;  ///< f32 [rows]
  /// Of a weight in blocks (FRACTAL_NZ), with what fills them up: how many codes there are; else 0.
  std::int64_t in_blocks = 0;
};

/// A weight [N, K] in the blocks that the cards' matrix units read: [K / 32, N / 16, 16, 32], both
/// rounded up and filled up with zeros.
struct Int8Blocks {
  static constexpr std::int64_t kRows = 16, kDepth = 32;
  explicit Int8Blocks(const Shape& shape)
      : across((shape[0] + kRows - 1) / kRows), along((shape[1] + kDepth - 1) / kDepth) {}

  std::int64_t across, along;  ///< numbers of blocks
  std::int64_t size() const { return across * along * kRows * kDepth; }
  /// Where the code of (n, k) lies; those of a block's row lie together.
  std::int64_t index(std::int64_t n, std::int64_t k) const {
    return ((k / kDepth * across + n / kRows) * kRows + n % kRows) * kDepth + k % kDepth;
  }
};

/// Throws Error(unsupported) if CANN lacks the operations, or they do not take a weight of that
/// shape [N, K].
void require_int8(const std::string& weight, const Shape& shape, bool in_blocks);

/// x [..., K] rotated as packed_weight.h says, but for the factor that makes the matrices
/// orthonormal, and rounded with a scale for each row. What is rounded to integers has bf16 before.
Int8Rows quantized(Stream& stream, const Tensor& x);

/// y [..., N] = x w^T + bias in `dtype`; `shape` is that of x. The product comes in bf16; bias of
/// f32 or bf16, or empty.
Tensor linear_int8(Stream& stream, const Int8Rows& x, const Shape& shape, DType dtype,
                   const Int8Rows& weight, const Tensor& bias);

}  // namespace ernie_image::ascend
