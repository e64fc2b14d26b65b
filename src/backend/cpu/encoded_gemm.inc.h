// The kernels of encoded_gemm.h for AVX-512 with VNNI, as templates over its vector policy; see
// simd.h for what may be used here.
#pragma once

#include <immintrin.h>

#include "backend/cpu/encoded_decoder.inc.h"
#include "backend/cpu/encoded_gemm.h"
#include "backend/cpu/encoded_vector.inc.h"
#include "backend/cpu/gemm.inc.h"
#include "backend/cpu/simd.h"

namespace ernie_image {

/// Rows of activations times a decoded panel.
template <class V>
struct EncodedTile {
  using Vec = typename V::Vec;
  using Ints = typename V::Ints;
  static constexpr int kRows = EncodedKernels::kTileRows;
  static constexpr int kVectors = 2;
  static constexpr int kGroup = EncodedKernels::kGroupDepth;
  // An integer n, |n| < 2^22, plus these bits is the float n + 1.5 * 2^23: the sum needs no
  // conversion. A scale of a block has 19 significant bits at most, so that its product with that
  // number is exact, and a fused multiply-subtract rounds the product with n once.
  static constexpr int kFloatBits = 0x4b400000;
  static constexpr float kFloatOffset = 12582912.0f;

  static void quantize_row(DType dtype, const std::byte* x, std::int64_t depth,
                           const EncodedKernels::Rows& target, int lane) {
    if (dtype == DType::f32) {
      quantize(reinterpret_cast<const float*>(x), depth, target, lane);
    } else {
      quantize(reinterpret_cast<const Bf16*>(x), depth, target, lane);
    }
  }

  template <class T>
  ERNIE_IMAGE_SIMD void quantize(const T* x, std::int64_t depth, const EncodedKernels::Rows& target,
                                 int lane) {
    constexpr float kActivationCode = 127.0f;
    constexpr float kTiny = 1e-30f;  // as good as zeros, and not to be inverted
    for (std::int64_t group = 0; group < depth / kGroup; ++group) {
      const Vec a = V::load(x + group * kGroup), b = V::load(x + group * kGroup + 16);
      const Vec bad = V::fma(a, V::zero(), V::mul(b, V::zero()));
      const float largest = V::reduce_max(V::max(V::abs(a), V::abs(b))) + V::reduce_add(bad);
      const Vec inverse = V::broadcast(largest > kTiny ? kActivationCode / largest : 0.0f);
      const int first = put(V::mul(a, inverse), target, group * 8, lane);
      const int second = put(V::mul(b, inverse), target, group * 8 + 4, lane);
      const float scale = largest / kActivationCode;
      target.scales[group * kRows + lane] = scale;
      target.sums[group * kRows + lane] = scale * static_cast<float>(first + second);
      std::int32_t* starts = target.starts + group * 3 * kRows + lane;
      starts[0] = kFloatBits - 128 * (first + second);
      starts[kRows] = kFloatBits - 128 * first;
      starts[2 * kRows] = kFloatBits - 128 * second;
    }
  }

  /// 16 codes, from step `step` on; gives their sum.
  ERNIE_IMAGE_SIMD int put(Vec v, const EncodedKernels::Rows& target, std::int64_t step, int lane) {
    const Ints codes = _mm512_max_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(-127));
    alignas(16) std::int8_t bytes[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(bytes), _mm512_cvtsepi32_epi8(codes));
    ERNIE_IMAGE_UNROLL
    for (int i = 0; i < 4; ++i)
      __builtin_memcpy(target.codes + ((step + i) * kRows + lane) * 4, bytes + 4 * i, 4);
    return _mm512_reduce_add_epi32(codes);
  }

  /// kSteps steps of one scale: total += scale of x * scale of w * integer sum.
  template <int kSteps>
  ERNIE_IMAGE_SIMD void add_group(const std::int8_t* x, const std::byte* codes,
                                  const std::int32_t* starts, const float* scales,
                                  const float* x_scales, Vec (&total)[kRows][kVectors]) {
    Ints sum[kRows][kVectors];
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c) sum[r][c] = _mm512_set1_epi32(starts[r]);
    }
    ERNIE_IMAGE_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      Ints w[kVectors];
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c)
        w[c] = _mm512_loadu_si512(codes + (step * kVectors + c) * 64);
      ERNIE_IMAGE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        int step_codes;
        __builtin_memcpy(&step_codes, x + (step * kRows + r) * 4, 4);
        const Ints a = _mm512_set1_epi32(step_codes);
        ERNIE_IMAGE_UNROLL
        for (int c = 0; c < kVectors; ++c) {
          sum[r][c] = _mm512_dpbusd_epi32(sum[r][c], w[c], a);
          V::keep(sum[r][c]);
        }
      }
    }
    Vec scale[kVectors], offset[kVectors];
    ERNIE_IMAGE_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      scale[c] = V::load(scales + c * 16);
      offset[c] = V::mul(scale[c], V::broadcast(kFloatOffset));
    }
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Vec x_scale = V::broadcast(x_scales[r]);
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c) {
        const Vec product = _mm512_fmsub_ps(_mm512_castsi512_ps(sum[r][c]), scale[c], offset[c]);
        total[r][c] = V::fma(product, x_scale, total[r][c]);
      }
    }
  }

  template <bool kHalves, bool kMinima>
  [[gnu::flatten]] static void multiply(const EncodedKernels::Rows& rows,
                                        const EncodedKernels::Panel& panel, std::int64_t depth,
                                        bool accumulate, float* tile) {
    constexpr int kOutputs = EncodedKernels::kPanelOutputs;
    Vec total[kRows][kVectors];
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c)
        total[r][c] = accumulate ? V::load(tile + r * kOutputs + c * 16) : V::zero();
    }
    const std::int8_t* x = rows.codes;
    const std::byte* codes = panel.codes;
    for (std::int64_t group = 0; group < depth / kGroup; ++group) {
      const float* scales = panel.scales + group * 2 * kOutputs;
      const float* x_scales = rows.scales + group * kRows;
      const std::int32_t* starts = rows.starts + group * 3 * kRows;
      if constexpr (kHalves) {
        add_group<4>(x, codes, starts + kRows, scales, x_scales, total);
        add_group<4>(x + 16 * kRows, codes + 4 * kOutputs * 4, starts + 2 * kRows,
                     scales + kOutputs, x_scales, total);
      } else {
        add_group<8>(x, codes, starts, scales, x_scales, total);
      }
      if constexpr (kMinima) {
        ERNIE_IMAGE_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const Vec sum = V::broadcast(rows.sums[group * kRows + r]);
          ERNIE_IMAGE_UNROLL
          for (int c = 0; c < kVectors; ++c) {
            total[r][c] = _mm512_fnmadd_ps(V::load(panel.minima + group * kOutputs + c * 16), sum,
                                           total[r][c]);
          }
        }
      }
      x += kGroup * kRows;
      codes += kGroup * kOutputs;
    }
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c) V::store(tile + r * kOutputs + c * 16, total[r][c]);
    }
  }

  static void multiply_tile(BlockFormat format, const EncodedKernels::Rows& rows,
                            const EncodedKernels::Panel& panel, std::int64_t depth, bool accumulate,
                            float* tile) {
    switch (format) {
      case BlockFormat::q6_k:
        return multiply<true, false>(rows, panel, depth, accumulate, tile);
      case BlockFormat::q4_k:
      case BlockFormat::q5_k:
        return multiply<false, true>(rows, panel, depth, accumulate, tile);
      default:
        return multiply<false, false>(rows, panel, depth, accumulate, tile);
    }
  }
};

template <class V>
EncodedKernels make_encoded_kernels() {
  EncodedKernels kernels;
  kernels.quantize_row = EncodedTile<V>::quantize_row;
  kernels.decode = BlockDecoder<V>::decode;
  kernels.multiply_tile = EncodedTile<V>::multiply_tile;
  kernels.quantize_vector = EncodedVector<V>::quantize;
  kernels.multiply_vector = EncodedVector<V>::multiply;
  return kernels;
}

}  // namespace ernie_image
