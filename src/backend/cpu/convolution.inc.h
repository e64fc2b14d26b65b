// The transforms of convolution.h as templates over a vector policy V (see simd.h for the rules).
#pragma once

#include "backend/cpu/convolution.h"
#include "backend/cpu/elementwise.inc.h"
#include "backend/cpu/gemm.inc.h"
#include "backend/cpu/simd.h"

namespace ernie_image {

/// The three transforms in one dimension. Points: 0, a, -a, b, -b, infinity; a pair of opposite
/// points shares the sums of even and of odd powers.
template <class V>
struct WinogradPoints {
  using Vec = typename V::Vec;
  static constexpr float kA = 0.75f;
  static constexpr float kB = 1.5f;
  static constexpr float kA2 = kA * kA;
  static constexpr float kB2 = kB * kB;

  ERNIE_IMAGE_SIMD Vec scaled(float factor, Vec v) { return V::mul(V::broadcast(factor), v); }
  ERNIE_IMAGE_SIMD Vec add_scaled(Vec sum, float factor, Vec v) {
    return V::fma(V::broadcast(factor), v, sum);
  }

  /// B^T d
  ERNIE_IMAGE_SIMD void input(const Vec (&d)[6], Vec (&t)[6]) {
    const Vec even_a = add_scaled(d[4], -kB2, d[2]);
    const Vec odd_a = add_scaled(d[3], -kB2, d[1]);
    const Vec even_b = add_scaled(d[4], -kA2, d[2]);
    const Vec odd_b = add_scaled(d[3], -kA2, d[1]);
    t[0] = add_scaled(add_scaled(d[4], -(kA2 + kB2), d[2]), kA2 * kB2, d[0]);
    t[1] = add_scaled(even_a, kA, odd_a);
    t[2] = add_scaled(even_a, -kA, odd_a);
    t[3] = add_scaled(even_b, kB, odd_b);
    t[4] = add_scaled(even_b, -kB, odd_b);
    t[5] = add_scaled(add_scaled(d[5], -(kA2 + kB2), d[3]), kA2 * kB2, d[1]);
  }

  /// G g
  ERNIE_IMAGE_SIMD void weight(const Vec (&g)[3], Vec (&t)[6]) {
    constexpr float kNormA = 1.0f / (2 * kA2 * (kA2 - kB2));
    constexpr float kNormB = 1.0f / (2 * kB2 * (kB2 - kA2));
    const Vec even_a = scaled(kNormA, add_scaled(g[0], kA2, g[2]));
    const Vec even_b = scaled(kNormB, add_scaled(g[0], kB2, g[2]));
    t[0] = scaled(1.0f / (kA2 * kB2), g[0]);
    t[1] = add_scaled(even_a, kNormA * kA, g[1]);
    t[2] = add_scaled(even_a, -kNormA * kA, g[1]);
    t[3] = add_scaled(even_b, kNormB * kB, g[1]);
    t[4] = add_scaled(even_b, -kNormB * kB, g[1]);
    t[5] = g[2];
  }

  /// A^T m
  ERNIE_IMAGE_SIMD void output(const Vec (&m)[6], Vec (&y)[4]) {
    const Vec even_a = V::add(m[1], m[2]);
    const Vec odd_a = V::sub(m[1], m[2]);
    const Vec even_b = V::add(m[3], m[4]);
    const Vec odd_b = V::sub(m[3], m[4]);
    y[0] = V::add(m[0], V::add(even_a, even_b));
    y[1] = add_scaled(scaled(kA, odd_a), kB, odd_b);
    y[2] = add_scaled(scaled(kA2, even_a), kB2, even_b);
    y[3] = add_scaled(add_scaled(m[5], kA * kA2, odd_a), kB * kB2, odd_b);
  }
};

/// Pixels of a row in float, ready to be read as tiles.
template <class V, class T>
struct WinogradStage {
  using Vec = typename V::Vec;

  [[gnu::flatten]] static void stage(const WinogradKernels::Row& row) {
    const T* source = reinterpret_cast<const T*>(row.source);
    float* target = row.target;
    for (std::int64_t x = 0; x < row.width; ++x, source += row.channels) {
      stage_pixel(row, source, target);
      target += row.stride;
      if (row.repeat == 2) {
        const float* first = target - row.stride;
        map_elements<V>([](Vec v) { return v; }, row.padded_channels, target, first);
        target += row.stride;
      }
    }
  }

 private:
  ERNIE_IMAGE_SIMD void stage_pixel(const WinogradKernels::Row& row, const T* source,
                                    float* target) {
    if (row.mean == nullptr) {
      map_elements<V>([](Vec v) { return v; }, row.channels, target, source);
    } else {
      const auto norm_silu = [](Vec v, Vec mean, Vec factor, Vec bias) {
        const Vec norm = round_to<V, T>(V::fma(V::sub(v, mean), factor, bias));
        return round_to<V, T>(ernie_image::silu<V>(norm));
      };
      map_elements<V>(norm_silu, row.channels, target, source, row.mean, row.factor, row.bias);
    }
    for (std::int64_t c = row.channels; c < row.padded_channels; ++c) target[c] = 0.0f;
  }
};

template <class V>
struct WinogradInput {
  using Vec = typename V::Vec;
  using Points = WinogradPoints<V>;
  static constexpr int kRows = V::kConvTileRows;
  static constexpr int kSide = WinogradKernels::kInputs;
  static constexpr int kPoints = WinogradKernels::kPoints;

  static void transform(const float* const* tiles, std::int64_t row_stride,
                        std::int64_t pixel_stride, std::int64_t channels, float* panels,
                        std::int64_t panel_stride) {
    Vec points[kPoints][kRows];
    for (std::int64_t c = 0; c < channels; c += V::kWidth) {
      for (int r = 0; r < kRows; ++r)
        transform_tile(tiles[r] + c, row_stride, pixel_stride, r, points);
      for (int point = 0; point < kPoints; ++point)
        interleave(points[point], panels + point * panel_stride + c * kRows);
    }
  }

 private:
  ERNIE_IMAGE_SIMD void transform_tile(const float* pixels, std::int64_t row_stride,
                                       std::int64_t pixel_stride, int r,
                                       Vec (&points)[kPoints][kRows]) {
    Vec columns[kSide][kSide];  // [x][point of y]
    ERNIE_IMAGE_UNROLL
    for (int x = 0; x < kSide; ++x) {
      Vec d[kSide];
      ERNIE_IMAGE_UNROLL
      for (int y = 0; y < kSide; ++y) d[y] = V::load(pixels + y * row_stride + x * pixel_stride);
      Points::input(d, columns[x]);
    }
    ERNIE_IMAGE_UNROLL
    for (int y = 0; y < kSide; ++y) {
      Vec d[kSide], t[kSide];
      ERNIE_IMAGE_UNROLL
      for (int x = 0; x < kSide; ++x) d[x] = columns[x][y];
      Points::input(d, t);
      ERNIE_IMAGE_UNROLL
      for (int x = 0; x < kSide; ++x) points[y * kSide + x][r] = t[x];
    }
  }

  /// [kRows][lanes] to [lanes][kRows]; what is beyond the rows spills into the next channel, which
  /// is written later, and after the last one beyond the panel.
  ERNIE_IMAGE_SIMD void interleave(const Vec (&rows)[kRows], float* target) {
    ERNIE_IMAGE_UNROLL
    for (int group = 0; group < kRows; group += V::kWidth) {
      Vec block[V::kWidth];
      ERNIE_IMAGE_UNROLL
      for (int i = 0; i < V::kWidth; ++i)
        block[i] = group + i < kRows ? rows[group + i < kRows ? group + i : 0] : V::zero();
      V::transpose(block);
      ERNIE_IMAGE_UNROLL
      for (int i = 0; i < V::kWidth; ++i) V::store(target + i * kRows + group, block[i]);
    }
  }
};

template <class V>
struct WinogradWeight {
  using Vec = typename V::Vec;
  using Points = WinogradPoints<V>;
  static constexpr int kColumns = V::kConvTileVectors * V::kWidth;
  static constexpr int kSide = WinogradKernels::kInputs;

  static void transform(const float* taps, std::int64_t channels, float* panels,
                        std::int64_t panel_stride) {
    for (std::int64_t c = 0; c < channels; ++c) {
      for (int j = 0; j < kColumns; j += V::kWidth)
        transform_filter(taps + c * WinogradKernels::kTaps * kColumns + j,
                         panels + c * kColumns + j, panel_stride);
    }
  }

 private:
  ERNIE_IMAGE_SIMD void transform_filter(const float* taps, float* target,
                                         std::int64_t panel_stride) {
    Vec columns[3][kSide];  // [x][point of y]
    ERNIE_IMAGE_UNROLL
    for (int x = 0; x < 3; ++x) {
      Vec g[3];
      ERNIE_IMAGE_UNROLL
      for (int y = 0; y < 3; ++y) g[y] = V::load(taps + (3 * y + x) * kColumns);
      Points::weight(g, columns[x]);
    }
    ERNIE_IMAGE_UNROLL
    for (int y = 0; y < kSide; ++y) {
      const Vec g[3] = {columns[0][y], columns[1][y], columns[2][y]};
      Vec t[kSide];
      Points::weight(g, t);
      ERNIE_IMAGE_UNROLL
      for (int x = 0; x < kSide; ++x) V::store(target + (y * kSide + x) * panel_stride, t[x]);
    }
  }
};

template <class V, class T>
struct WinogradOutput {
  using Vec = typename V::Vec;
  using Points = WinogradPoints<V>;
  static constexpr int kSide = WinogradKernels::kInputs;
  static constexpr int kOutputs = WinogradKernels::kOutputs;

  static void transform(const WinogradKernels::Outputs& o) {
    for (int c = 0; c < o.channels; c += V::kWidth) {
      Vec y[kOutputs][kOutputs];
      transform_lanes(o.sums + c, o.point_stride, y);
      const int lanes = o.channels - c < V::kWidth ? o.channels - c : V::kWidth;
      const Vec bias = V::load_partial(o.bias + c, lanes);
      for (int row = 0; row < o.height; ++row) {
        for (int column = 0; column < o.width; ++column) {
          const std::int64_t offset = row * o.row_stride + column * o.pixel_stride + c;
          store(o, offset, V::add(y[row][column], bias), lanes);
        }
      }
    }
  }

 private:
  ERNIE_IMAGE_SIMD void transform_lanes(const float* sums, std::int64_t point_stride,
                                        Vec (&outputs)[kOutputs][kOutputs]) {
    Vec columns[kSide][kOutputs];  // [x][y]
    ERNIE_IMAGE_UNROLL
    for (int x = 0; x < kSide; ++x) {
      Vec m[kSide];
      ERNIE_IMAGE_UNROLL
      for (int y = 0; y < kSide; ++y) m[y] = V::load(sums + (y * kSide + x) * point_stride);
      Points::output(m, columns[x]);
    }
    ERNIE_IMAGE_UNROLL
    for (int y = 0; y < kOutputs; ++y) {
      Vec m[kSide];
      ERNIE_IMAGE_UNROLL
      for (int x = 0; x < kSide; ++x) m[x] = columns[x][y];
      Points::output(m, outputs[y]);
    }
  }

  ERNIE_IMAGE_SIMD void store(const WinogradKernels::Outputs& o, std::int64_t offset, Vec v,
                              int lanes) {
    T* target = reinterpret_cast<T*>(o.target) + offset;
    const T* residual =
        o.residual == nullptr ? nullptr : reinterpret_cast<const T*>(o.residual) + offset;
    if (lanes == V::kWidth) {
      if (residual != nullptr) v = V::add(round_to<V, T>(v), V::load(residual));
      V::store(target, v);
    } else {
      if (residual != nullptr) v = V::add(round_to<V, T>(v), V::load_partial(residual, lanes));
      V::store_partial(target, v, lanes);
    }
  }
};

template <class V>
WinogradKernels make_winograd_kernels() {
  WinogradKernels kernels;
  kernels.lanes = V::kWidth;
  kernels.stage_f32 = WinogradStage<V, float>::stage;
  kernels.stage_bf16 = WinogradStage<V, Bf16>::stage;
  kernels.transform_inputs = WinogradInput<V>::transform;
  kernels.transform_weights = WinogradWeight<V>::transform;
  kernels.transform_outputs_f32 = WinogradOutput<V, float>::transform;
  kernels.transform_outputs_bf16 = WinogradOutput<V, Bf16>::transform;
  return kernels;
}

}  // namespace ernie_image
