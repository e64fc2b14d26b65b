// Linear weights quantised for cards whose products of integers take one scale for each row: what
// they hold, so that a file of it is copied there as it is.
//
// A weight W[N, K] is rotated along K as packed_weight.h says, and
//   rotated W[n, k] ~ sqrt(width of the rotation) * scale[n] * code[n, k],   code -127..127
// since activations are multiplied by matrices of 1 and -1 that are not orthonormal.
//
// Layout: codes [N, K] i8, zeros to a multiple of 64 bytes; scales [N] f32, zeros to a multiple of
// 64 bytes. All numbers are little endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/weight.h"

namespace ernie_image {

/// What files call it.
inline constexpr std::string_view kRowCodesName = "int8_rows";

struct RowCodesLayout {
  /// `shape` is the [N, K] of the weight. Throws Error(unsupported) for one that is too large.
  explicit RowCodesLayout(const Shape& shape);

  std::int64_t rows;             ///< N
  std::int64_t depth;            ///< K
  std::int64_t rotation;         ///< width of the Hadamard matrices, 1 for none
  std::size_t scale_offset = 0;  ///< bytes from the first code to the first scale
  std::size_t size_bytes = 0;

  std::size_t code_bytes() const { return static_cast<std::size_t>(rows * depth); }
};

/// Row `row` of a weight in any format: its scale, and codes [K]. `scratch`: K numbers. A row with
/// a number that is not finite has the scale NaN, and with it all results of the column.
float make_row_codes(const Weight& weight, std::int64_t row, std::span<float> scratch,
                     std::int8_t* codes);

/// The encoded weight whose `layout.size_bytes` lie at `data`, at a multiple of 4; see
/// WeightDecoder::row_codes.
std::shared_ptr<const WeightDecoder> make_row_codes_decoder(const RowCodesLayout& layout,
                                                            const std::byte* data);

}  // namespace ernie_image
