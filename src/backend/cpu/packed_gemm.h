// The functions of quantised matrix products that depend on the instruction set;
// core/packed_weight.h describes the weights. Activations are rotated and rounded to 8 bits with a
// float scale for each row and block of 256 along K. Codes and group scales are integers, and so
// are their sums over a block, exactly: every instruction set finds the same. Blocks are added in
// float, in order.
//
// A tile is tile_rows rows times the 16 outputs of a panel, [tile_rows][16] f32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace ernie_image {

/// Elements [begin, begin + count) of a row of activations, begin being a multiple of 256; those up
/// to `depth`, a multiple of 32, are zero.
struct ActivationRow {
  DType dtype;  ///< f32 or bf16
  const std::byte* data;
  std::int64_t count;
  std::int64_t depth;
  std::int64_t rotation;  ///< PackedLayout::rotation
  float norm;             ///< 1 / sqrt(rotation)
};

/// Where codes and scales of that row go: 4 codes of each step `rows` * 4 bytes apart, and the
/// scale of each block `rows` floats apart.
struct ActivationTarget {
  std::uint8_t* codes;
  float* scales;
  std::int64_t rows;
};

/// A range of whole blocks along K, of tile_rows rows (or one) and of a panel.
struct PackedOperands {
  const std::uint8_t* codes;  ///< [steps][rows][4]
  const float* scales;        ///< [blocks][rows]
  const std::byte* blocks;    ///< as a record of the weight holds them
  std::int64_t depth;
  /// What multiply_pair brings into the L2 cache meanwhile: a line for each 16 of depth.
  const std::byte* ahead = nullptr;
  std::int64_t ahead_step = 0;  ///< bytes from line to line; 0 for nothing more
};

struct PackedKernels {
  static constexpr int kTileColumns = 16;
  /// Of PackedOperands::ahead.
  static constexpr int kDepthOfLine = 16;

  int tile_rows;

  /// A block that holds a number that is not finite gets the scale NaN.
  void (*quantize_row)(const ActivationRow& row, const ActivationTarget& target);

  /// One block of 4-bit codes in the form of 8-bit codes. Where multiply_pair is there, group
  /// scales of an output that are small multiples of a common factor become that factor, and codes
  /// are multiplied by the rest.
  void (*unpack_block)(const std::byte* block, std::int64_t depth, std::byte* unpacked);

  /// tile = (or += if `accumulate`) sum over blocks of scale * (codes times codes), without the row
  /// scales of the weight. `totals` is scratch memory of a tile's size. The second function takes
  /// unpacked 4-bit codes.
  void (*multiply_tile8)(const PackedOperands& operands, bool accumulate, std::int32_t* totals,
                         float* tile);
  void (*multiply_tile4)(const PackedOperands& operands, bool accumulate, std::int32_t* totals,
                         float* tile);

  /// The same as multiply_tile8 of two panels, whose blocks lie `stride` bytes apart, and two tiles
  /// one after another; within a block all groups of a `run` along K (32 to 256) must have the same
  /// scale. Null where multiplying by the scale costs nothing.
  void (*multiply_pair)(const PackedOperands& operands, std::int64_t stride, std::int64_t run,
                        bool accumulate, std::int32_t* totals, float* tiles) = nullptr;

  /// The same of one row and a whole record, read as a stream: result [16]. The second function
  /// takes packed 4-bit codes.
  void (*multiply_row8)(const PackedOperands& operands, float* result);
  void (*multiply_row4)(const PackedOperands& operands, float* result);
};

/// Defined in packed_gemm.inc.h, instantiated in kernels_<isa>.cpp.
template <class V>
PackedKernels make_packed_kernels();

}  // namespace ernie_image
