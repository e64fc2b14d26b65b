// The functions of products with weights in the blocks of other programs that depend on the
// instruction set. Blocks are decoded where they lie into panels of 8-bit codes with a float scale
// for each 32 or 16 of them, exactly; activations are rounded to 8 bits with a scale for each 32,
// or to 16 bits where there are so few rows that reading the weights takes the time. Sums of a
// group are integers, and groups are added in float, in order.
//
// A tile is kTileRows rows times the 32 outputs of a panel, [kTileRows][32] f32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "core/weight.h"

namespace ernie_image {

struct EncodedKernels {
  static constexpr int kTileRows = 6;
  static constexpr int kPanelOutputs = 32;
  static constexpr int kGroupDepth = 32;
  /// Along K, what is decoded at a time: such a panel stays in the L1 cache.
  static constexpr std::int64_t kRangeDepth = 512;

  /// What decode() writes for `depth` elements along K: codes + 128 [groups][8 steps][32][4] u8,
  /// scales [groups][2 halves][32] f32, of which only the first half counts where a group has one
  /// scale, and minima [groups][32] f32, which are subtracted from each weight.
  struct Panel {
    std::byte* codes;
    float* scales;
    float* minima;
  };
  static constexpr std::size_t kPanelBytes =
      kPanelOutputs * kRangeDepth + sizeof(float) * kPanelOutputs * 3 * kRangeDepth / kGroupDepth;

  /// A range of kTileRows rows of activations: codes [groups][8 steps][rows][4] i8, scales
  /// [groups][rows] f32, what sums of the whole group and of its halves begin with
  /// [groups][3][rows] i32, and sums of the rounded activations [groups][rows] f32.
  struct Rows {
    std::int8_t* codes;
    float* scales;
    std::int32_t* starts;
    float* sums;
  };
  static constexpr std::size_t kBytesOfRowGroup = kGroupDepth + 5 * sizeof(float);

  /// Rounds `depth` elements of a row, whole groups, to the place of row `lane`. A group that holds
  /// a number that is not finite gets the scale NaN.
  void (*quantize_row)(DType dtype, const std::byte* x, std::int64_t depth, const Rows& target,
                       int lane) = nullptr;

  /// `depth` elements, whole blocks, from the blocks that `rows` [kPanelOutputs] point to.
  void (*decode)(BlockFormat format, const std::byte* const* rows, std::int64_t depth,
                 const Panel& panel) = nullptr;

  /// tile = (or += if `accumulate`) rows times panel.
  void (*multiply_tile)(BlockFormat format, const Rows& rows, const Panel& panel,
                        std::int64_t depth, bool accumulate, float* tile) = nullptr;

  /// One row of activations, rounded to 16 bits with a scale for each 32: 256 * high + low [depth],
  /// scales for each 16 (those of a 32 twice), and sums of the rounded activations.
  struct Vector {
    std::int8_t* high;
    std::int8_t* low;
    float* scales;     ///< [depth / 16]
    float* sums;       ///< [depth / 32]
    float* half_sums;  ///< [depth / 16]
  };
  /// For each 32 elements; `depth` is filled up to a multiple of 64, and one of 512 of the floats.
  static constexpr std::size_t kBytesOfVectorGroup = 2 * kGroupDepth + 5 * sizeof(float);
  static constexpr std::int64_t kVectorDepth = 512;

  /// `depth` elements, a multiple of 32; fills up with zeros to a multiple of kVectorDepth.
  void (*quantize_vector)(DType dtype, const std::byte* x, std::int64_t depth,
                          const Vector& target) = nullptr;

  /// result[n] = x times the weight row at rows[n], n < count: weights are read as a stream.
  void (*multiply_vector)(BlockFormat format, const Vector& x, const std::byte* const* rows,
                          int count, std::int64_t depth, float* result) = nullptr;
};

/// Weights and bytes of a block.
struct BlockShape {
  std::int64_t weights;
  std::int64_t bytes;
};
constexpr BlockShape block_shape(BlockFormat format) {
  switch (format) {
    case BlockFormat::q8_0:
      return {32, 34};
    case BlockFormat::q4_0:
    case BlockFormat::iq4_nl:
      return {32, 18};
    case BlockFormat::q4_k:
      return {256, 144};
    case BlockFormat::q5_k:
      return {256, 176};
    case BlockFormat::q6_k:
      return {256, 210};
    case BlockFormat::none:
      break;
  }
  return {1, 0};
}

/// Defined in encoded_gemm.inc.h, instantiated in kernels_<isa>.cpp.
template <class V>
EncodedKernels make_encoded_kernels();

}  // namespace ernie_image
