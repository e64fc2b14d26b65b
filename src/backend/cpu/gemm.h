// The functions of matrix products that depend on the instruction set. All work on packed panels:
//   panel[k][r] = rows[r][k], f32, tile_rows wide for the left-hand side, tile_columns wide for the
//   right-hand side; a tile is [tile_rows][tile_columns] f32, contiguous.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace ernie_image {

/// What is added to a result: the sum over k of narrow[row][k] * up[k][column].
struct AddedTerm {
  const float* narrow;  ///< [rows of the result][narrow_stride]
  std::int64_t narrow_stride;
  const float* up;  ///< [rank][up_stride], columns of the result and numbers beyond to a vector
  std::int64_t up_stride;
  std::int64_t rank;
};

/// A rectangle of f32 results and where it goes.
struct TileStore {
  const float* source;         ///< [rows][source_stride]
  std::int64_t source_stride;  ///< floats
  int rows;
  int columns;
  const float* scale = nullptr;  ///< [columns] of a quantised weight, or null
  const float* bias = nullptr;   ///< [columns], or null
  DType dtype;                   ///< f32 or bf16
  std::byte* target;
  std::int64_t target_stride;  ///< elements
  const AddedTerm* terms = nullptr;
  std::size_t num_terms = 0;
  std::int64_t row = 0;  ///< of the result, where the rectangle begins: for terms
  std::int64_t column = 0;
};

/// Consecutive rows of a weight: f32, f16 or bf16, at any alignment.
struct WeightRows {
  DType dtype;
  const std::byte* data;
  std::int64_t stride_bytes;
  int count;
};

/// Up to kMaxVectors rows of activations for `multiply_vectors`.
struct VectorRows {
  const float* data;
  std::int64_t stride;  ///< floats
  int count;
};

struct GemmKernels {
  static constexpr int kMaxVectors = 8;

  int tile_rows;
  int tile_columns;

  /// Packs `depth` elements of each of tile_rows (tile_columns) rows of f32, f16 or bf16.
  void (*pack_left)(DType dtype, const std::byte* const* rows, std::int64_t depth, float* panel);
  void (*pack_right)(DType dtype, const std::byte* const* rows, std::int64_t depth, float* panel);

  /// tile = sum over k of left[k][r] * right[k][c], or += if `accumulate`.
  void (*multiply_tile)(const float* left, const float* right, std::int64_t depth, bool accumulate,
                        float* tile);

  /// The same of pairs of bf16, consecutive in a row, in place of each f32: both products are added
  /// in f32, denormals taken for zero. Null where the processor has no such instruction.
  void (*multiply_tile_of_pairs)(const float* left, const float* right, std::int64_t depth,
                                 bool accumulate, float* tile) = nullptr;

  /// Multiplies by the scale, adds the bias and rounds; then, for each term in order, adds it
  /// rounded and rounds.
  void (*store_tile)(const TileStore& store);

  /// result[v][w] = sum over k of vectors[v][k] * weights[w][k]: few vectors against many weight
  /// rows, without packing, at the speed of memory.
  void (*multiply_vectors)(const VectorRows& vectors, const WeightRows& weights, std::int64_t depth,
                           float* result, std::int64_t result_stride);

  /// To f32, from f32, f16 or bf16.
  void (*widen)(DType dtype, const std::byte* source, std::int64_t count, float* target);

  /// Nothing but independent fused multiply-adds: `probe_flops` for each iteration.
  void (*probe_peak)(std::int64_t iterations);
  int probe_flops;
};

/// With tiles of kRows times kVectors registers. Defined in gemm.inc.h, instantiated in
/// kernels_<isa>.cpp.
template <class V, int kRows, int kVectors>
GemmKernels make_gemm_kernels();

}  // namespace ernie_image
