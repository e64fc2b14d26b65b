// Quantised linear layers. Two forms are kept on the card:
//   int8  rows of codes [N, D] with one f32 scale each: both sides are integers, and the product is
//         that of the tensor cores. D is K filled up to a multiple of 32.
//   int4  the records of core/packed_weight.h as they are in the file: read as they are for one
//         row, spread out to rows of the activations' type for more.
// Weights and activations are rotated along K as packed_weight.h says. What a file has as packed
// int8, with a scale for each 32 codes, is rounded once more to one scale for each row.
#pragma once

#include <cstdint>

#include "backend/cuda/products.h"
#include "backend/cuda/stream.h"
#include "core/packed_weight.h"

namespace ernie_image::cuda {

/// K filled up to a multiple of 32.
std::int64_t padded_depth(std::int64_t depth);

/// Rows as integers.
struct Int8Rows {
  Tensor codes;   ///< i8 [rows, D], -127..127
  Tensor scales;  ///< f32 [rows]; NaN for a row that has a number that is not finite
};

/// Memory for them, in that order, as a weight is kept.
struct Int8Layout {
  Int8Layout(std::int64_t rows, std::int64_t depth);
  std::size_t scale_offset;
  std::size_t bytes;
};

/// Rows of `depth` (f32, f16 or bf16) rotated by Hadamard matrices of `rotation` (1: not) and
/// rounded.
void quantize_rows(cudaStream_t queue, DType dtype, const std::byte* x, std::int64_t rows,
                   std::int64_t depth, std::int64_t rotation, std::int8_t* codes, float* scales);

/// The numbers that packed records stand for, rotated: `dtype` [N, D].
void unpack_rows(cudaStream_t queue, const PackedLayout& layout, const std::byte* records,
                 DType dtype, std::byte* target);

/// x [.., K] rotated and rounded.
Int8Rows quantized(const Stream& stream, const Tensor& x);

/// x rotated: [rows, D], of x's type.
Tensor rotate_rows(const Stream& stream, const Tensor& x, std::int64_t rotation);

/// Memory for x w^T of `columns`, and the address of a bias that may be empty.
Tensor linear_result(const Stream& stream, const Tensor& x, std::int64_t columns);
const float* floats_or_null(const Tensor& tensor);

/// y = x w^T + bias for weights [N, K] in these forms; bias f32 [N] or empty.
Tensor linear_int8(const Stream& stream, const Products& products, const Tensor& x,
                   const Int8Rows& weight, const Shape& shape, const Tensor& bias);
Tensor linear_int4(const Stream& stream, const Products& products, const Tensor& x,
                   const std::byte* records, const Shape& shape, const Tensor& bias);

}  // namespace ernie_image::cuda
