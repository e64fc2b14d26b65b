// Quantised linear weights: the bytes of the packed formats, and how they are made. The bytes do
// not depend on the processor or on the number of threads, and may be mapped from a file.
//
// A weight W[N, K] is rotated along K by orthonormal Hadamard matrices, which spreads outliers;
// activations are rotated alike, so that the product is the same. Along K it is cut into groups of
// 32 with an integer scale each:
//   W[n, k] ~ row_scale[n] * group_scale[n, k / 32] * code[n, k]
// packed_int8: codes -127..127, where code[k] + code[k + 1] of each even k is within -138..138: the
//   sum of such a pair, times activations of 0..236, fits 16 bits (236 * 138 < 2^15).
// packed_int4: codes -8..7: eight pairs times 0..236 fit 16 bits (8 * 2 * 8 * 236 < 2^15).
//
// Layout: a panel is one record of 16 outputs, which a product with one row reads as a single
// stream. N is filled up to a multiple of 16 and K to one of 32 with zeros. All numbers are little
// endian. A record holds, for each block of 256 along K (the last may be shorter, a multiple of
// 32), "step" being 4 consecutive k:
//   codes   int8: [steps][16 outputs][4] i8
//           int4: [steps / 2][16][4] bytes, code + 8 of an even step in the low four bits, of the
//           odd step after it in the high four
//   scales  [groups][16] i8
//   sums    [16] i32, over the block of group_scale * code: activations are stored with an offset
//   and after the blocks row_scale [16] f32, then zeros to a multiple of 64 bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/weight.h"

namespace ernie_image {

struct PackedLayout {
  static constexpr std::int64_t kPanelOutputs = 16;
  static constexpr std::int64_t kStepDepth = 4;
  static constexpr std::int64_t kGroupDepth = 32;
  static constexpr std::int64_t kBlockDepth = 256;
  static constexpr int kMaxGroupScale = 127;
  static constexpr int kMaxPair = 138;
  /// What pack_panel writes lets products multiply by scales seldom; files of version 1 do not.
  /// Groups of 8-bit codes have one scale in each run of so many k. Scales of 4-bit codes are small
  /// multiples, up to kMaxMultiple4, of one factor for each output and such a run: a code times a
  /// multiple fits a byte.
  static constexpr std::int64_t kScaleRun = 64;
  static constexpr int kMaxMultiple4 = 15;
  static constexpr int kMaxFactor4 = 8;

  /// `shape` is the [N, K] of the weight; `format` is a packed one.
  PackedLayout(WeightFormat format, const Shape& shape);

  WeightFormat format;
  std::int64_t outputs;   ///< N
  std::int64_t inputs;    ///< K
  std::int64_t depth;     ///< K filled up to whole groups
  std::int64_t panels;    ///< ceil(N / 16)
  std::int64_t rotation;  ///< width of the Hadamard matrices: 32, 64, 128, 256, or 1 for none

  /// Bytes of `depth` consecutive k, a multiple of 32 up to 256.
  std::size_t code_bytes(std::int64_t depth) const;
  std::size_t block_bytes(std::int64_t depth) const;
  /// Where in a record the row scales are.
  std::size_t row_scale_offset() const;
  /// Bytes of one panel; a multiple of 64.
  std::size_t record_bytes() const;
  std::size_t size_bytes() const { return record_bytes() * static_cast<std::size_t>(panels); }
};

/// Quantises outputs [16 panel, 16 panel + 16) of a plain f32, f16 or bf16 weight (data at any
/// alignment) into `record`, record_bytes() long and aligned to 4. A row that holds a value that is
/// not finite gets the row scale NaN.
void pack_panel(const PackedLayout& layout, const Weight& weight, std::int64_t panel,
                std::byte* record);

/// The largest power of two up to 256 that divides `inputs`, or 1 if that is below 32.
std::int64_t rotation_width(std::int64_t inputs);

}  // namespace ernie_image
