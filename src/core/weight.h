// Weights as files hold them, and where models get them from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace ernie_image {

/// How the bytes of a weight are arranged.
enum class WeightFormat : std::uint8_t {
  plain,        ///< row-major elements of `dtype`
  packed_int8,  ///< a linear weight quantised as packed_weight.h says; `dtype` is i8
  packed_int4,  ///< likewise with 4 bits; `dtype` is i8 here too
  encoded,      ///< in the format of another program, see WeightDecoder
};

/// Quantised by this program: the formats of packed_weight.h.
constexpr bool is_packed(WeightFormat format) {
  return format == WeightFormat::packed_int8 || format == WeightFormat::packed_int4;
}

/// Formats of other programs whose blocks a device may read by itself: ggml's types of these names.
enum class BlockFormat : std::uint8_t { none, q8_0, q4_0, iq4_nl, q4_k, q5_k, q6_k };

/// Where codes and scales of row_codes.h lie.
struct RowCodes {
  const std::byte* codes;   ///< i8 [N, K]
  const std::byte* scales;  ///< f32 [N]
};

/// Reads a weight in one of the many formats that files have, where it lies. Safe to call from
/// several threads at once.
class WeightDecoder {
 public:
  virtual ~WeightDecoder() = default;

  /// For people: "Q4_K", "nf4".
  virtual std::string_view name() const = 0;

  /// Elements [begin, begin + count) of the weight in row-major order, which must exist. Whole
  /// blocks of the format are read fastest; every multiple of 256 begins one.
  virtual void decode(std::int64_t begin, std::int64_t count, float* target) const = 0;

  /// Whether this program can read the format at all; if not, `decode` must not be called.
  virtual bool is_readable() const { return true; }

  /// What `block_row` points to.
  virtual BlockFormat block_format() const { return BlockFormat::none; }

  /// What a card can copy and multiply as it is, if the weight is that.
  virtual std::optional<RowCodes> row_codes() const { return std::nullopt; }

  /// Where row `row` of a matrix of `columns` lies as whole blocks of block_format(), one after
  /// another; null if it does not.
  virtual const std::byte* block_row(std::int64_t /*row*/, std::int64_t /*columns*/) const {
    return nullptr;
  }
};

/// A read-only tensor in the format of its file; `owner` keeps the mapped pages alive.
/// `data` is null for a weight that was missing or misshapen (see WeightSource::get).
struct Weight {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;  ///< of the tensor that is meant, in a packed format too: [N, K]
  const std::byte* data = nullptr;
  std::shared_ptr<const void> owner;
  WeightFormat format = WeightFormat::plain;
  /// Packed and encoded formats: how many bytes there are. Of a packed one whoever uses them
  /// compares that with the layout.
  std::size_t packed_bytes = 0;
  /// Of which of its network's layers it is a part: they are used one after another, and a layer's
  /// weights together. Said by the model that loads it; `layer` is -1 for a weight of none.
  std::string network = {};
  std::int64_t layer = -1;
  /// Encoded: what reads it. `dtype` is then what a device without kernels for the format expands
  /// it to, f32 or bf16, and `data` only says that there is something.
  std::shared_ptr<const WeightDecoder> decoder = nullptr;

  std::size_t size_bytes() const {
    if (format != WeightFormat::plain) return packed_bytes;
    return storage_bytes(dtype, static_cast<std::size_t>(num_elements(shape)));
  }
};

/// Elements [begin, begin + count) in row-major order as f32: of an encoded weight, or of a plain
/// one of f32, f16 or bf16 at any address.
void widen_elements(const Weight& weight, std::int64_t begin, std::int64_t count, float* target);

/// All of such a weight, in f32 of its shape.
Tensor widened(const Weight& weight);

/// An encoded weight as a plain copy of its `dtype`; any other as it is.
Weight expanded(const Weight& weight);

/// The weights of one component, by checkpoint name. Not for concurrent use.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  virtual bool contains(std::string_view name) const = 0;

  /// The weight of that name. If it is absent, or its shape or type is not usable, the problem is
  /// noted and a weight without data is returned, so that one error can name every problem.
  virtual Weight get(const std::string& name, const Shape& expected_shape) = 0;

  /// Throws Error(corrupt_file) naming every missing and misshapen weight noted so far.
  virtual void require_complete() const = 0;

  /// Names present that nobody asked for.
  virtual std::vector<std::string> unused() const = 0;

  /// Lets the operating system drop the resident pages of this component's files.
  virtual void release_pages() const = 0;

  /// The same for one weight that has been copied and is not read again.
  virtual void release_pages(const Weight& /*weight*/) const {}
};

/// Told by a model which of its layers is computed next, so that somebody who knows about files can
/// fetch weights ahead of their use and let go of them afterwards.
class LayerListener {
 public:
  virtual ~LayerListener() = default;

  /// Layer `index` is about to be used; of the earlier ones, none until the model starts again.
  virtual void before_layer(std::int64_t index) = 0;
};

}  // namespace ernie_image
