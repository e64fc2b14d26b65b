// The kernels of gemm.h as templates over a vector policy; see simd.h for what may be used here.
#pragma once

#include <type_traits>

#include "backend/cpu/gemm.h"
#include "backend/cpu/simd.h"

// gcc 12 keeps an array in registers only if every loop over it is unrolled completely; no policy
// has more than 24 rows or 16 lanes.
#define ERNIE_IMAGE_UNROLL _Pragma("GCC unroll 32")

namespace ernie_image {

/// Rows of kPanel at a time, transposed and widened to f32.
template <class V, int kPanel>
struct PanelPacker {
  using Vec = typename V::Vec;
  static constexpr int kWidth = V::kWidth;

  /// A vector from each of kWidth rows at `offset` bytes; rows beyond the panel are zero.
  template <class T>
  ERNIE_IMAGE_SIMD void load_block(const std::byte* const* rows, std::int64_t offset, int group,
                                   Vec (&block)[kWidth]) {
    ERNIE_IMAGE_UNROLL
    for (int i = 0; i < kWidth; ++i) {
      block[i] = group + i < kPanel ? V::load(reinterpret_cast<const T*>(rows[group + i] + offset))
                                    : V::zero();
    }
  }

  /// Columns [k, k + kWidth). Lanes beyond the panel spill into the next column.
  template <class T>
  ERNIE_IMAGE_SIMD void pack_block(const std::byte* const* rows, std::int64_t k, float* panel) {
    ERNIE_IMAGE_UNROLL
    for (int group = 0; group < kPanel; group += kWidth) {
      Vec block[kWidth];
      load_block<T>(rows, k * static_cast<std::int64_t>(sizeof(T)), group, block);
      V::transpose(block);
      ERNIE_IMAGE_UNROLL
      for (int i = 0; i < kWidth; ++i) V::store(panel + (k + i) * kPanel + group, block[i]);
    }
  }

  /// Columns [k, k + 2 kWidth) of bf16, transposed as pairs and widened after: half the shuffles.
  ERNIE_IMAGE_SIMD void pack_pairs(const std::byte* const* rows, std::int64_t k, float* panel) {
    ERNIE_IMAGE_UNROLL
    for (int group = 0; group < kPanel; group += kWidth) {
      Vec block[kWidth];
      load_block<float>(rows, k * 2, group, block);
      V::transpose(block);
      ERNIE_IMAGE_UNROLL
      for (int i = 0; i < kWidth; ++i) {
        float* column = panel + (k + 2 * i) * kPanel + group;
        V::store(column, V::bf16_even(block[i]));
        V::store(column + kPanel, V::bf16_odd(block[i]));
      }
    }
  }

  /// Columns [k, k + count), count <= kWidth: nothing is read or written beyond them.
  template <class T>
  static void pack_last(const std::byte* const* rows, std::int64_t k, int count, float* panel) {
    for (int group = 0; group < kPanel; group += kWidth) {
      const int width = group + kWidth < kPanel ? kWidth : kPanel - group;
      Vec block[kWidth];
      for (int i = 0; i < kWidth; ++i) block[i] = V::zero();
      for (int i = 0; i < width; ++i)
        block[i] = V::load_partial(reinterpret_cast<const T*>(rows[group + i]) + k, count);
      V::transpose(block);
      for (int i = 0; i < count; ++i)
        V::store_partial(panel + (k + i) * kPanel + group, block[i], width);
    }
  }

  template <class T>
  static void pack(const std::byte* const* rows, std::int64_t depth, float* panel) {
    std::int64_t k = 0;
    // Never up to the end: a spill must have a next column to go to.
    if constexpr (std::is_same_v<T, Bf16>) {
      for (; k + 2 * kWidth < depth; k += 2 * kWidth) pack_pairs(rows, k, panel);
    }
    for (; k + kWidth < depth; k += kWidth) pack_block<T>(rows, k, panel);
    if (k < depth) pack_last<T>(rows, k, static_cast<int>(depth - k), panel);
  }

  static void pack_any(DType dtype, const std::byte* const* rows, std::int64_t depth,
                       float* panel) {
    if (dtype == DType::f32) return pack<float>(rows, depth, panel);
    if (dtype == DType::bf16) return pack<Bf16>(rows, depth, panel);
    pack<F16>(rows, depth, panel);
  }
};

/// The tile product, which is where the time goes.
template <class V, int kRows, int kVectors>
struct Tile {
  using Vec = typename V::Vec;
  static constexpr int kColumns = kVectors * V::kWidth;

  ERNIE_IMAGE_SIMD void prefetch(const float* tile) {
    constexpr int kLineFloats = 16;
    for (int i = 0; i < kRows * kColumns; i += kLineFloats) __builtin_prefetch(tile + i, 1);
  }

  ERNIE_IMAGE_SIMD void add_step(const float* left, const float* right,
                                 Vec (&sum)[kRows][kVectors]) {
    Vec b[kVectors];
    ERNIE_IMAGE_UNROLL
    for (int c = 0; c < kVectors; ++c) b[c] = V::load(right + c * V::kWidth);
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Vec a = V::broadcast(left[r]);
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c) sum[r][c] = V::fma(a, b[c], sum[r][c]);
    }
  }

  static void multiply(const float* left, const float* right, std::int64_t depth, bool accumulate,
                       float* tile) {
    prefetch(tile);
    Vec sum[kRows][kVectors];
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c) sum[r][c] = V::zero();
    }
#pragma GCC unroll 4
    for (std::int64_t k = 0; k < depth; ++k) add_step(left + k * kRows, right + k * kColumns, sum);
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c) {
        float* target = tile + r * kColumns + c * V::kWidth;
        V::store(target, accumulate ? V::add(V::load(target), sum[r][c]) : sum[r][c]);
      }
    }
  }

  template <class T>
  static void store_rows(const TileStore& s) {
    for (int r = 0; r < s.rows; ++r) {
      const float* source = s.source + r * s.source_stride;
      T* target = reinterpret_cast<T*>(s.target) + r * s.target_stride;
      int c = 0;
      for (; c + V::kWidth <= s.columns; c += V::kWidth) {
        Vec v = V::load(source + c);
        if (s.scale != nullptr) v = V::mul(v, V::load(s.scale + c));
        if (s.bias != nullptr) v = V::add(v, V::load(s.bias + c));
        V::store(target + c, v);
      }
      if (const int rest = s.columns - c; rest > 0) {
        Vec v = V::load_partial(source + c, rest);
        if (s.scale != nullptr) v = V::mul(v, V::load_partial(s.scale + c, rest));
        if (s.bias != nullptr) v = V::add(v, V::load_partial(s.bias + c, rest));
        V::store_partial(target + c, v, rest);
      }
    }
  }

  /// As T holds it.
  template <class T>
  ERNIE_IMAGE_SIMD Vec rounded(Vec v) {
    if constexpr (std::is_same_v<T, Bf16>) return V::round_to_bf16(v);
    return v;
  }

  ERNIE_IMAGE_SIMD Vec load_lanes(const float* p, int lanes) {
    return lanes < V::kWidth ? V::load_partial(p, lanes) : V::load(p);
  }

  template <class T>
  ERNIE_IMAGE_SIMD void store_lanes(T* p, Vec v, int lanes) {
    if (lanes < V::kWidth) return V::store_partial(p, v, lanes);
    V::store(p, v);
  }

  /// Rows from r on, columns from c on: kCount times kWide vectors, the last of `lanes`.
  template <class T, int kCount, int kWide>
  ERNIE_IMAGE_SIMD void store_block_with_terms(const TileStore& s, int r, int c, int lanes) {
    Vec y[kCount][kWide];
    ERNIE_IMAGE_UNROLL
    for (int i = 0; i < kCount; ++i) {
      ERNIE_IMAGE_UNROLL
      for (int j = 0; j < kWide; ++j) {
        const int at = c + j * V::kWidth, count = j + 1 < kWide ? V::kWidth : lanes;
        Vec v = load_lanes(s.source + (r + i) * s.source_stride + at, count);
        if (s.scale != nullptr) v = V::mul(v, load_lanes(s.scale + at, count));
        if (s.bias != nullptr) v = V::add(v, load_lanes(s.bias + at, count));
        y[i][j] = rounded<T>(v);
      }
    }
    for (std::size_t t = 0; t < s.num_terms; ++t) {
      const AddedTerm& term = s.terms[t];
      const float* narrow = term.narrow + (s.row + r) * term.narrow_stride;
      const float* up = term.up + s.column + c;
      Vec sum[kCount][kWide];
      ERNIE_IMAGE_UNROLL
      for (int i = 0; i < kCount; ++i) {
        ERNIE_IMAGE_UNROLL
        for (int j = 0; j < kWide; ++j) sum[i][j] = V::zero();
      }
      for (std::int64_t k = 0; k < term.rank; ++k, up += term.up_stride) {
        Vec b[kWide];
        ERNIE_IMAGE_UNROLL
        for (int j = 0; j < kWide; ++j) b[j] = V::load(up + j * V::kWidth);
        ERNIE_IMAGE_UNROLL
        for (int i = 0; i < kCount; ++i) {
          const Vec a = V::broadcast(narrow[i * term.narrow_stride + k]);
          ERNIE_IMAGE_UNROLL
          for (int j = 0; j < kWide; ++j) sum[i][j] = V::fma(a, b[j], sum[i][j]);
        }
      }
      ERNIE_IMAGE_UNROLL
      for (int i = 0; i < kCount; ++i) {
        ERNIE_IMAGE_UNROLL
        for (int j = 0; j < kWide; ++j)
          y[i][j] = rounded<T>(V::add(y[i][j], rounded<T>(sum[i][j])));
      }
    }
    ERNIE_IMAGE_UNROLL
    for (int i = 0; i < kCount; ++i) {
      T* target = reinterpret_cast<T*>(s.target) + (r + i) * s.target_stride + c;
      ERNIE_IMAGE_UNROLL
      for (int j = 0; j < kWide; ++j)
        store_lanes(target + j * V::kWidth, y[i][j], j + 1 < kWide ? V::kWidth : lanes);
    }
  }

  template <class T, int kCount, int kWide>
  static void store_columns_with_terms(const TileStore& s, int c, int lanes) {
    int r = 0;
    for (; r + kCount <= s.rows; r += kCount)
      store_block_with_terms<T, kCount, kWide>(s, r, c, lanes);
    for (; r + 2 <= s.rows; r += 2) store_block_with_terms<T, 2, kWide>(s, r, c, lanes);
    for (; r < s.rows; ++r) store_block_with_terms<T, 1, kWide>(s, r, c, lanes);
  }

  /// As many sums at a time as hide the latency, of one or two vectors; 12 and 4 rows divide those
  /// of tiles.
  template <class T>
  static void store_rows_with_terms(const TileStore& s) {
    for (int c = 0; c < s.columns;) {
      const int rest = s.columns - c;
      const bool two = rest > V::kWidth;
      const int lanes = two ? rest - V::kWidth : rest;
      const int last = lanes < V::kWidth ? lanes : V::kWidth;
      if (two)
        store_columns_with_terms<T, 4, 2>(s, c, last);
      else
        store_columns_with_terms<T, 12, 1>(s, c, last);
      c += two ? 2 * V::kWidth : V::kWidth;
    }
  }

  static void store(const TileStore& s) {
    if (s.num_terms > 0)
      return s.dtype == DType::f32 ? store_rows_with_terms<float>(s)
                                   : store_rows_with_terms<Bf16>(s);
    return s.dtype == DType::f32 ? store_rows<float>(s) : store_rows<Bf16>(s);
  }

  /// As many independent sums as a tile has, more than enough to hide the latency.
  static void probe_peak(std::int64_t iterations) {
    volatile float factor = 0.5f;
    const Vec a = V::broadcast(factor);
    Vec sum[kRows][kVectors];
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c)
        sum[r][c] = V::broadcast(static_cast<float>(r * kVectors + c));
    }
    for (std::int64_t i = 0; i < iterations; ++i) {
      ERNIE_IMAGE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        ERNIE_IMAGE_UNROLL
        for (int c = 0; c < kVectors; ++c) sum[r][c] = V::fma(sum[r][c], a, a);
      }
    }
    Vec total = V::zero();
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c) total = V::add(total, sum[r][c]);
    }
    factor = V::reduce_add(total);
  }
};

/// Few rows of activations against many weight rows, which are read once and not packed.
template <class V, class T>
struct VectorProduct {
  using Vec = typename V::Vec;
  static constexpr int kWidth = V::kWidth;

  /// Weight rows taken together, so that sums and weights stay in registers.
  static constexpr int rows_together(int vectors) {
    const int fit = V::kTileRows * V::kTileVectors / (vectors + 1);
    return fit > 4 ? 4 : (fit < 1 ? 1 : fit);
  }

  /// The two loads are functions of a row: of whole vectors, or of the last elements.
  template <int kVectors, int kRows, class LoadWeight, class LoadVector>
  ERNIE_IMAGE_SIMD void add_step(LoadWeight load_weight, LoadVector load_vector,
                                 Vec (&sum)[kVectors][kRows]) {
    Vec w[kRows];
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) w[r] = load_weight(r);
    ERNIE_IMAGE_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const Vec x = load_vector(v);
      ERNIE_IMAGE_UNROLL
      for (int r = 0; r < kRows; ++r) sum[v][r] = V::fma(w[r], x, sum[v][r]);
    }
  }

  template <int kVectors, int kRows>
  static void multiply_rows(const VectorRows& vectors, const std::byte* weights,
                            std::int64_t stride_bytes, std::int64_t depth, float* result,
                            std::int64_t result_stride) {
    const auto row = [=](int r) { return reinterpret_cast<const T*>(weights + r * stride_bytes); };
    const auto vector = [x = vectors.data, stride = vectors.stride](int v) {
      return x + v * stride;
    };
    Vec sum[kVectors][kRows];
    ERNIE_IMAGE_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      ERNIE_IMAGE_UNROLL
      for (int r = 0; r < kRows; ++r) sum[v][r] = V::zero();
    }
    std::int64_t k = 0;
    for (; k + kWidth <= depth; k += kWidth) {
      add_step([&](int r) { return V::load(row(r) + k); },
               [&](int v) { return V::load(vector(v) + k); }, sum);
    }
    if (k < depth) {
      const int count = static_cast<int>(depth - k);
      add_step([&](int r) { return V::load_partial(row(r) + k, count); },
               [&](int v) { return V::load_partial(vector(v) + k, count); }, sum);
    }
    ERNIE_IMAGE_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      ERNIE_IMAGE_UNROLL
      for (int r = 0; r < kRows; ++r) result[v * result_stride + r] = V::reduce_add(sum[v][r]);
    }
  }

  /// One row of activations reads the weights as one long stream, which is what memory delivers
  /// fastest: several sums within a row, and a hint for what comes next.
  static float multiply_one(const float* x, const T* w, std::int64_t depth) {
    constexpr int kSums = 8;
    constexpr std::int64_t kAheadBytes = 2048;
    Vec sum[kSums];
    ERNIE_IMAGE_UNROLL
    for (int i = 0; i < kSums; ++i) sum[i] = V::zero();
    std::int64_t k = 0;
    for (; k + kSums * kWidth <= depth; k += kSums * kWidth) {
      constexpr int kLine = 64;
      const char* ahead = reinterpret_cast<const char*>(w + k) + kAheadBytes;
      ERNIE_IMAGE_UNROLL
      for (int line = 0; line < static_cast<int>(kSums * kWidth * sizeof(T)); line += kLine)
        __builtin_prefetch(ahead + line);
      ERNIE_IMAGE_UNROLL
      for (int i = 0; i < kSums; ++i)
        sum[i] = V::fma(V::load(w + k + i * kWidth), V::load(x + k + i * kWidth), sum[i]);
    }
    for (; k + kWidth <= depth; k += kWidth)
      sum[0] = V::fma(V::load(w + k), V::load(x + k), sum[0]);
    if (k < depth) {
      const int count = static_cast<int>(depth - k);
      sum[1] = V::fma(V::load_partial(w + k, count), V::load_partial(x + k, count), sum[1]);
    }
    ERNIE_IMAGE_UNROLL
    for (int i = 1; i < kSums; ++i) sum[0] = V::add(sum[0], sum[i]);
    return V::reduce_add(sum[0]);
  }

  static void multiply_stream(const VectorRows& vectors, const WeightRows& weights,
                              std::int64_t depth, float* result) {
    for (int r = 0; r < weights.count; ++r)
      result[r] = multiply_one(
          vectors.data, reinterpret_cast<const T*>(weights.data + r * weights.stride_bytes), depth);
  }

  template <int kVectors = 1>
  static void multiply(const VectorRows& vectors, const WeightRows& weights, std::int64_t depth,
                       float* result, std::int64_t result_stride) {
    if constexpr (kVectors == 1) {
      if (vectors.count == 1) return multiply_stream(vectors, weights, depth, result);
    }
    if constexpr (kVectors < GemmKernels::kMaxVectors) {
      if (vectors.count > kVectors)
        return multiply<kVectors + 1>(vectors, weights, depth, result, result_stride);
    }
    constexpr int kRows = rows_together(kVectors);
    int r = 0;
    for (; r + kRows <= weights.count; r += kRows)
      multiply_rows<kVectors, kRows>(vectors, weights.data + r * weights.stride_bytes,
                                     weights.stride_bytes, depth, result + r, result_stride);
    for (; r < weights.count; ++r)
      multiply_rows<kVectors, 1>(vectors, weights.data + r * weights.stride_bytes,
                                 weights.stride_bytes, depth, result + r, result_stride);
  }
};

template <class V>
void multiply_vectors(const VectorRows& vectors, const WeightRows& weights, std::int64_t depth,
                      float* result, std::int64_t result_stride) {
  if (weights.dtype == DType::f32)
    return VectorProduct<V, float>::multiply(vectors, weights, depth, result, result_stride);
  if (weights.dtype == DType::bf16)
    return VectorProduct<V, Bf16>::multiply(vectors, weights, depth, result, result_stride);
  VectorProduct<V, F16>::multiply(vectors, weights, depth, result, result_stride);
}

template <class V, class T>
void widen_elements(const std::byte* source, std::int64_t count, float* target) {
  const T* elements = reinterpret_cast<const T*>(source);
  std::int64_t i = 0;
  for (; i + V::kWidth <= count; i += V::kWidth) V::store(target + i, V::load(elements + i));
  const int rest = static_cast<int>(count - i);
  if (rest > 0) V::store_partial(target + i, V::load_partial(elements + i, rest), rest);
}

template <class V>
void widen(DType dtype, const std::byte* source, std::int64_t count, float* target) {
  if (dtype == DType::f32) return widen_elements<V, float>(source, count, target);
  if (dtype == DType::bf16) return widen_elements<V, Bf16>(source, count, target);
  widen_elements<V, F16>(source, count, target);
}

template <class V, int kRows, int kVectors>
GemmKernels make_gemm_kernels() {
  using Product = Tile<V, kRows, kVectors>;
  GemmKernels kernels;
  kernels.tile_rows = kRows;
  kernels.tile_columns = Product::kColumns;
  kernels.pack_left = PanelPacker<V, kRows>::pack_any;
  kernels.pack_right = PanelPacker<V, Product::kColumns>::pack_any;
  kernels.multiply_tile = Product::multiply;
  kernels.store_tile = Product::store;
  kernels.multiply_vectors = multiply_vectors<V>;
  kernels.widen = widen<V>;
  kernels.probe_peak = Product::probe_peak;
  kernels.probe_flops = kRows * Product::kColumns * 2;
  return kernels;
}

}  // namespace ernie_image
