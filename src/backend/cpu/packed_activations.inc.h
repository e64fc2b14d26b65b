// Activations for products with packed weights, for packed_gemm.inc.h.
#pragma once

#include "backend/cpu/gemm.inc.h"
#include "backend/cpu/packed_gemm.h"
#include "backend/cpu/simd.h"

namespace ernie_image {

// The numbers of PackedLayout, which code of an instruction set may not include.
struct PackedForm {
  static constexpr int kOutputs = 16;
  static constexpr int kStepBytes = kOutputs * 4;
  static constexpr int kGroupDepth = 32;
  static constexpr int kGroupSteps = 8;
  static constexpr int kBlockDepth = 256;
  static constexpr int kMaxMultiple = 15;
  static constexpr int kMaxFactor = 8;
  static constexpr int kRunGroups = 2;
};

/// Rotation and rounding of activations, a block of 256 at a time in a buffer that L1 holds.
template <class V>
struct ActivationQuantizer {
  using Vec = typename V::Vec;
  static constexpr int kWidth = V::kWidth;
  static constexpr int kBlock = PackedForm::kBlockDepth;

  ERNIE_IMAGE_SIMD void butterfly(Vec& a, Vec& b) {
    const Vec sum = V::add(a, b);
    b = V::sub(a, b);
    a = sum;
  }

  /// The steps of the transform within kWidth elements, for kWidth vectors at a time.
  ERNIE_IMAGE_SIMD void transform_lanes(float* x) {
    Vec v[kWidth];
    ERNIE_IMAGE_UNROLL
    for (int i = 0; i < kWidth; ++i) v[i] = V::load(x + i * kWidth);
    V::transpose(v);
    ERNIE_IMAGE_UNROLL
    for (int half = 1; half < kWidth; half *= 2) {
      ERNIE_IMAGE_UNROLL
      for (int i = 0; i < kWidth; ++i) {
        if ((i & half) == 0) butterfly(v[i], v[i + half]);
      }
    }
    V::transpose(v);
    ERNIE_IMAGE_UNROLL
    for (int i = 0; i < kWidth; ++i) V::store(x + i * kWidth, v[i]);
  }

  /// Two steps of the transform, over pairs `half` and then 2 * `half` apart.
  ERNIE_IMAGE_SIMD void transform_twice(float* x, int half) {
    for (int i = 0; i < kBlock; i += 4 * half) {
      for (int j = i; j < i + half; j += kWidth) {
        Vec v[4];
        ERNIE_IMAGE_UNROLL
        for (int q = 0; q < 4; ++q) v[q] = V::load(x + j + q * half);
        butterfly(v[0], v[1]);
        butterfly(v[2], v[3]);
        butterfly(v[0], v[2]);
        butterfly(v[1], v[3]);
        ERNIE_IMAGE_UNROLL
        for (int q = 0; q < 4; ++q) V::store(x + j + q * half, v[q]);
      }
    }
  }

  ERNIE_IMAGE_SIMD void transform_once(float* x, int half) {
    for (int i = 0; i < kBlock; i += 2 * half) {
      for (int j = i; j < i + half; j += kWidth) {
        Vec low = V::load(x + j), high = V::load(x + j + half);
        butterfly(low, high);
        V::store(x + j, low);
        V::store(x + j + half, high);
      }
    }
  }

  /// Fast Walsh-Hadamard transforms of `width` elements each, not normalised.
  static void transform(float* x, int width) {
    for (int i = 0; i < kBlock; i += kWidth * kWidth) transform_lanes(x + i);
    int half = kWidth;
    for (; 4 * half <= width; half *= 4) transform_twice(x, half);
    if (2 * half <= width) transform_once(x, half);
  }

  template <class T>
  static void read(const T* source, int count, float* x) {
    int i = 0;
    for (; i + kWidth <= count; i += kWidth) V::store(x + i, V::load(source + i));
    if (i < count) {
      V::store(x + i, V::load_partial(source + i, count - i));
      i += kWidth;
    }
    for (; i < kBlock; i += kWidth) V::store(x + i, V::zero());
  }

  /// The largest magnitude, or NaN if a value is not finite.
  static float largest_magnitude(const float* x) {
    constexpr int kSums = 4;
    Vec largest[kSums], check[kSums];
    for (int s = 0; s < kSums; ++s) largest[s] = check[s] = V::zero();
    for (int i = 0; i < kBlock; i += kSums * kWidth) {
      ERNIE_IMAGE_UNROLL
      for (int s = 0; s < kSums; ++s) {
        const Vec v = V::load(x + i + s * kWidth);
        largest[s] = V::max(largest[s], V::abs(v));
        check[s] = V::fma(v, V::zero(), check[s]);
      }
    }
    const Vec most = V::max(V::max(largest[0], largest[1]), V::max(largest[2], largest[3]));
    const Vec bad = V::add(V::add(check[0], check[1]), V::add(check[2], check[3]));
    return V::reduce_max(most) + V::reduce_add(bad);
  }

  /// One block; gives its scale, that of the transform not included.
  static float quantize(const float* x, int depth, std::uint8_t* codes, std::int64_t step_stride) {
    constexpr float kLargest = static_cast<float>(kLargestCode);
    constexpr float kTiny = 1e-30f;  // as good as zeros, and not to be inverted
    const float largest = largest_magnitude(x);
    const Vec inverse = V::broadcast(largest > kTiny ? kLargest / largest : 0.0f);
    for (int i = 0; i < depth; i += kWidth)
      V::store_steps(codes + i / 4 * step_stride, step_stride, V::mul(V::load(x + i), inverse));
    return largest / kLargest;
  }

  template <class T>
  static void quantize_row_of(const ActivationRow& row, const ActivationTarget& target) {
    alignas(64) float x[kBlock];
    const T* source = reinterpret_cast<const T*>(row.data);
    const int width = static_cast<int>(row.rotation);
    for (std::int64_t k = 0; k < row.depth; k += kBlock) {
      const std::int64_t given = row.count - k, depth = row.depth - k;
      read(source + k, static_cast<int>(given < kBlock ? given : kBlock), x);
      if (width > 1) transform(x, width);
      const float scale = quantize(x, static_cast<int>(depth < kBlock ? depth : kBlock),
                                   target.codes + k * target.rows, target.rows * 4);
      target.scales[k / kBlock * target.rows] = scale * row.norm;
    }
  }

  static void quantize_row(const ActivationRow& row, const ActivationTarget& target) {
    if (row.dtype == DType::f32) return quantize_row_of<float>(row, target);
    quantize_row_of<Bf16>(row, target);
  }
};

}  // namespace ernie_image
