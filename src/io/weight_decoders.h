// Decoders of the quantised formats that safetensors files hold: codes, scales, and what is done to
// their product. Each reads mapped memory and keeps nothing but pointers into it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/weight.h"

namespace ernie_image {

using Decoder = std::shared_ptr<const WeightDecoder>;

/// One number for each group of a row.
class Scales {
 public:
  virtual ~Scales() = default;
  virtual float at(std::int64_t row, std::int64_t group) const = 0;
};
using ScalesPtr = std::shared_ptr<const Scales>;

/// A tensor [rows, groups] of F32, F16, BF16 or an 8-bit type; either extent may be 1, for all.

ScalesPtr make_scales(const Weight& tensor, std::int64_t rows, std::int64_t groups);

/// Of 8-bit numbers in the order in which tensor cores of NVIDIA GPUs read them: (r, c) lies at
/// ((r / 128) * (C / 4) + c / 4) * 512 + (r % 32) * 16 + (r % 128) / 32 * 4 + c % 4, C groups a row
/// filled up to a multiple of 4.
ScalesPtr make_swizzled_scales(const Weight& tensor, DType dtype, std::int64_t padded_groups);

/// Scales that are quantised themselves: map[code] * nested[group / block] + offset.
ScalesPtr make_nested_scales(const Weight& codes, const Weight& map, const Weight& nested,
                             std::int64_t block, float offset);

/// 4-bit numbers, eight consecutive rows in an I32, low bits first: I32 [rows / 8, groups].
ScalesPtr make_packed_row_numbers(const Weight& tensor, std::int64_t groups);

/// Codes of a matrix and what they stand for.
struct CodeGrid {
  enum class Order : std::uint8_t {
    bytes,       ///< 8 bits each
    low_first,   ///< 4 bits, the even element in the low ones
    high_first,  ///< 4 bits, the even element in the high ones
    halves,      ///< 4 bits, rows of the first half in the low ones, of the second in the high ones
  };
  const std::byte* data = nullptr;
  Order order = Order::bytes;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t stride = 0;  ///< elements from one row to the next
  bool transposed = false;  ///< bytes only: stored [columns, rows]
  std::array<float, 256> values{};
};

/// values[code] - before, times scale * factor, + after: of each group of a row.
struct CodeScaling {
  ScalesPtr scale;  ///< null for 1
  float factor = 1;
  ScalesPtr before;  ///< null for 0
  ScalesPtr after;   ///< null for 0
  float after_sign = 1;
  std::int64_t group = 0;  ///< columns; 0 for the whole row
};

Decoder make_code_decoder(std::string name, const CodeGrid& codes, const CodeScaling& scaling,
                          std::shared_ptr<const void> owner);

/// A plain weight of F32, F16 or BF16.
Decoder make_plain_decoder(const Weight& weight);

/// Times a number.
Decoder make_factor_decoder(Decoder inner, float factor);

/// Each group of consecutive elements times the Kronecker power of H / 2, H being the 4 x 4 matrix
/// of ones with -1 on the anti-diagonal. `group` is a power of 4 from 4 to 4096.
Decoder make_rotated_decoder(Decoder inner, std::int64_t group);

/// W + up down: up [N, rank], down [rank, K], both of F32, F16 or BF16.
Decoder make_low_rank_decoder(Decoder inner, const Weight& up, const Weight& down);

/// Row r of a head of `head_dim` rows is row 2 j + s of the file, where r = s * head_dim / 2 + j:
/// what llama.cpp does to queries and keys. `columns` is K.
Decoder make_head_order_decoder(Decoder inner, std::int64_t head_dim, std::int64_t columns);

/// The upper left [*, columns] of a matrix whose rows are `stored_columns` long.
Decoder make_cropped_decoder(Decoder inner, std::int64_t columns, std::int64_t stored_columns);

/// A format that is known by name only.
Decoder make_unreadable(std::string name);

}  // namespace ernie_image
