// The block types of GGUF: how many weights a block holds, in how many bytes, and what they are.
// Source: ggml's block structures, compared value by value (tests/data/formats/gguf/blocks).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "core/dtype.h"
#include "core/weight.h"

namespace ernie_image {

/// One of ggml's types. `weights` consecutive elements of a row take `bytes` bytes.
struct GgufType {
  std::uint32_t id;
  std::string_view name;
  std::int64_t weights;
  std::int64_t bytes;
  /// Of a type whose elements are numbers one by one.
  std::optional<DType> dtype;
  /// A whole block; null for numbers, and for types that this program cannot read.
  void (*decode)(const std::byte* block, float* target) = nullptr;
  /// Of the types that devices may read by themselves.
  BlockFormat format = BlockFormat::none;
};

/// What the codes of IQ4_NL and IQ4_XS stand for, times the scale.
inline constexpr std::array<std::int8_t, 16> kIq4Levels = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/// Null for a number that no type has.
const GgufType* gguf_type(std::uint32_t id);
const GgufType* gguf_type(std::string_view name);

/// Reads `elements` weights of a block type at `data`.
std::shared_ptr<const WeightDecoder> make_gguf_decoder(const GgufType& type, const std::byte* data,
                                                       std::int64_t elements);

/// F32, F16 or an integer type whose bytes are in the reverse order.
std::shared_ptr<const WeightDecoder> make_swapped_decoder(DType dtype, const std::byte* data);

}  // namespace ernie_image
