// Products of few rows with encoded weights, for encoded_gemm.inc.h.
#pragma once

#include <immintrin.h>

#include "backend/cpu/encoded_decoder.inc.h"
#include "backend/cpu/gemm.inc.h"
#include "backend/cpu/simd.h"

namespace ernie_image {

/// One row of activations times rows of weights: memory is to be the limit. 64 weights are
/// multiplied at a time, in the order of their block's bytes.
template <class V>
struct EncodedVector {
  using Vec = typename V::Vec;
  using Ints = typename V::Ints;
  using Bytes = const std::byte*;
  using Vector = EncodedKernels::Vector;
  using Decoder = BlockDecoder<V>;

  static void quantize(DType dtype, const std::byte* x, std::int64_t depth, const Vector& target) {
    const float* floats = reinterpret_cast<const float*>(x);
    const Bf16* halves = reinterpret_cast<const Bf16*>(x);
    std::int64_t k = 0;
    for (; k < depth; k += 32) {
      if (dtype == DType::f32) {
        quantize_group(V::load(floats + k), V::load(floats + k + 16), k, target);
      } else {
        quantize_group(V::load(halves + k), V::load(halves + k + 16), k, target);
      }
    }
    for (; k % EncodedKernels::kVectorDepth != 0; k += 32)
      quantize_group(V::zero(), V::zero(), k, target);
  }

  ERNIE_IMAGE_SIMD void quantize_group(Vec a, Vec b, std::int64_t k, const Vector& target) {
    constexpr float kActivationCode = 127.0f * 256.0f;
    constexpr float kTiny = 1e-30f;
    const Vec bad = V::fma(a, V::zero(), V::mul(b, V::zero()));
    const float largest = V::reduce_max(V::max(V::abs(a), V::abs(b))) + V::reduce_add(bad);
    const Vec inverse = V::broadcast(largest > kTiny ? kActivationCode / largest : 0.0f);
    const float scale = largest / kActivationCode;
    const float first = scale * static_cast<float>(put(V::mul(a, inverse), k, target));
    const float second = scale * static_cast<float>(put(V::mul(b, inverse), k + 16, target));
    target.scales[k / 16] = target.scales[k / 16 + 1] = scale;
    target.half_sums[k / 16] = first;
    target.half_sums[k / 16 + 1] = second;
    target.sums[k / 32] = first + second;
  }

  ERNIE_IMAGE_SIMD int put(Vec v, std::int64_t k, const Vector& target) {
    const Ints least = _mm512_set1_epi32(-127 * 256);
    const Ints code = _mm512_max_epi32(_mm512_cvtps_epi32(v), least);
    const Ints high = _mm512_srai_epi32(_mm512_add_epi32(code, _mm512_set1_epi32(128)), 8);
    const auto store = [](std::int8_t* to, Ints bytes) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(bytes));
    };
    store(target.high + k, high);
    store(target.low + k, code);  // the lower bits, less 256 where bit 7 is set
    return _mm512_reduce_add_epi32(code);
  }

  /// Sums of four products with weights 0 to 255, at x from k on.
  ERNIE_IMAGE_SIMD Vec products(const Vector& x, std::int64_t k, Ints w) {
    const Ints high = _mm512_dpbusd_epi32(V::zero_ints(), w, V::load_ints(x.high + k));
    return _mm512_cvtepi32_ps(
        _mm512_dpbusd_epi32(_mm512_slli_epi32(high, 8), w, V::load_ints(x.low + k)));
  }

  ERNIE_IMAGE_SIMD void prefetch(Bytes at, int bytes) {
    constexpr int kAheadBytes = 1536, kLine = 64;
    ERNIE_IMAGE_UNROLL
    for (int i = 0; i < bytes; i += kLine) __builtin_prefetch(at + kAheadBytes + i, 0);
  }

  ERNIE_IMAGE_SIMD __m128i load16(Bytes p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  ERNIE_IMAGE_SIMD __m256i load32(Bytes p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }

  /// Blocks of 32 that begin with their scale. `pair(row, has_second)` gives weights + `zero` of
  /// two blocks.
  template <int kBytes, class Pair>
  ERNIE_IMAGE_SIMD float blocks(Bytes row, std::int64_t depth, const Vector& x, float zero,
                                Pair pair) {
    constexpr int kBatch = 16;  // blocks whose scales are converted at a time
    Vec sum = V::zero(), offsets = V::zero();
    const int count = static_cast<int>(depth / 32);
    for (int begin = 0; begin < count; begin += kBatch) {
      const int batch = count - begin < kBatch ? count - begin : kBatch;
      alignas(32) std::uint16_t bits[kBatch] = {};
      if (batch == kBatch) {
        ERNIE_IMAGE_UNROLL
        for (int i = 0; i < kBatch; ++i) __builtin_memcpy(&bits[i], row + i * kBytes, 2);
      } else {
        for (int i = 0; i < batch; ++i) __builtin_memcpy(&bits[i], row + i * kBytes, 2);
      }
      const Vec d = _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(bits)));
      offsets = V::fma(d, V::load(x.sums + begin), offsets);
      const Vec scales = V::mul(d, even_lanes(x.scales + 2 * begin));
      Ints lanes = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
      for (int i = 0; i < batch; i += 2) {
        prefetch(row, 2 * kBytes);
        const Vec product = products(x, std::int64_t{32} * (begin + i), pair(row, i + 1 < batch));
        sum = V::fma(product, _mm512_permutexvar_ps(lanes, scales), sum);
        lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(2));
        row += 2 * kBytes;
      }
    }
    return V::reduce_add(_mm512_fnmadd_ps(V::broadcast(zero), offsets, sum));
  }

  /// p[0], p[2], ...
  ERNIE_IMAGE_SIMD Vec even_lanes(const float* p) {
    const Ints even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(V::load(p), even, V::load(p + 16));
  }

  static float q8_0(Bytes row, std::int64_t depth, const Vector& x) {
    return blocks<34>(row, depth, x, 128.0f, [](Bytes at, bool has_second) {
      Ints w = _mm512_castsi256_si512(load32(at + 2));
      w = has_second ? _mm512_inserti64x4(w, load32(at + 36), 1)
                     : _mm512_zextsi256_si512(load32(at + 2));
      return _mm512_xor_si512(w, Decoder::all(128));
    });
  }

  /// The codes of two blocks of 18 bytes.
  ERNIE_IMAGE_SIMD Ints two_blocks(Bytes at, bool has_second) {
    const __m256i first = _mm256_broadcastsi128_si256(load16(at + 2));
    const __m256i second = has_second ? _mm256_broadcastsi128_si256(load16(at + 20)) : first;
    const Ints both = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
    const Ints shifts = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
    return Decoder::low(_mm512_srlv_epi64(both, shifts));
  }

  static float q4_0(Bytes row, std::int64_t depth, const Vector& x) {
    return blocks<18>(row, depth, x, 8.0f,
                      [](Bytes at, bool has_second) { return two_blocks(at, has_second); });
  }

  static float iq4_nl(Bytes row, std::int64_t depth, const Vector& x) {
    const Ints levels = Decoder::iq4_levels();
    return blocks<18>(row, depth, x, 128.0f, [&](Bytes at, bool has_second) {
      return _mm512_shuffle_epi8(levels, two_blocks(at, has_second));
    });
  }

  /// d and m times the eight scales and minima of Q4_K and Q5_K.
  struct Header {
    __m256 scales, minima;
  };
  ERNIE_IMAGE_SIMD Header header(Bytes block) {
    std::uint32_t dm, s0, s1, s2;
    __builtin_memcpy(&dm, block, 4);
    __builtin_memcpy(&s0, block + 4, 4);
    __builtin_memcpy(&s1, block + 8, 4);
    __builtin_memcpy(&s2, block + 12, 4);
    constexpr std::uint32_t kSix = 0x3f3f3f3f, kFour = 0x0f0f0f0f, kTwo = 0x30303030;
    const std::uint64_t scales = (s0 & kSix) | std::uint64_t{(s2 & kFour) | (s0 >> 2 & kTwo)} << 32;
    const std::uint64_t minima = (s1 & kSix) | std::uint64_t{(s2 >> 4 & kFour) | (s1 >> 2 & kTwo)}
                                                   << 32;
    const __m128 both = _mm_cvtph_ps(_mm_cvtsi32_si128(static_cast<int>(dm)));
    const auto floats = [](std::uint64_t bytes) {
      return _mm256_cvtepi32_ps(
          _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(bytes))));
    };
    return {_mm256_mul_ps(floats(scales), _mm256_broadcastss_ps(both)),
            _mm256_mul_ps(floats(minima), _mm256_broadcastss_ps(_mm_movehdup_ps(both)))};
  }

  /// Q4_K and Q5_K: `quarter(block, i)` gives the codes of the 64 weights from 64 i on.
  template <int kBytes, class Quarter>
  ERNIE_IMAGE_SIMD float super_blocks(Bytes row, std::int64_t depth, const Vector& x,
                                      Quarter quarter) {
    Vec sum = V::zero();
    __m256 offsets = _mm256_setzero_ps();
    for (std::int64_t k = 0; k < depth; k += 256, row += kBytes) {
      prefetch(row, kBytes);
      const Header head = header(row);
      offsets = _mm256_fmadd_ps(head.minima, _mm256_loadu_ps(x.sums + k / 32), offsets);
      const Ints even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0);
      const __m256 x_scales =
          _mm512_castps512_ps256(_mm512_permutexvar_ps(even, V::load(x.scales + k / 16)));
      const Vec scales = _mm512_castps256_ps512(_mm256_mul_ps(head.scales, x_scales));
      Ints lanes = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
      ERNIE_IMAGE_UNROLL
      for (int i = 0; i < 4; ++i) {
        const Vec product = products(x, k + 64 * i, quarter(row, i));
        sum = V::fma(product, _mm512_permutexvar_ps(lanes, scales), sum);
        lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(2));
      }
    }
    return V::reduce_add(V::sub(sum, _mm512_zextps256_ps512(offsets)));
  }

  /// The low nibbles of 32 bytes, then the high ones.
  ERNIE_IMAGE_SIMD Ints both_nibbles(Bytes at) {
    const Ints shifts = _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4);
    return Decoder::low(_mm512_srlv_epi64(_mm512_broadcast_i64x4(load32(at)), shifts));
  }

  static float q4_k(Bytes row, std::int64_t depth, const Vector& x) {
    return super_blocks<144>(row, depth, x,
                             [](Bytes block, int i) { return both_nibbles(block + 16 + 32 * i); });
  }

  static float q5_k(Bytes row, std::int64_t depth, const Vector& x) {
    return super_blocks<176>(row, depth, x, [](Bytes block, int i) {
      const Ints q = both_nibbles(block + 48 + 32 * i);
      const Ints fifth = _mm512_broadcast_i64x4(load32(block + 16));
      const Ints bits = _mm512_inserti64x4(Decoder::all(1 << (2 * i)),
                                           _mm256_set1_epi8(static_cast<char>(2 << (2 * i))), 1);
      return _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(fifth, bits), q, Decoder::all(16));
    });
  }

  static float q6_k(Bytes row, std::int64_t depth, const Vector& x) {
    Vec sum = V::zero(), offsets = V::zero();
    const Ints low_shifts = _mm512_setr_epi64(4, 4, 4, 4, 2, 2, 2, 2);
    const Ints high_shifts = _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2);
    const Ints two = Decoder::all(0x30);
    for (std::int64_t k = 0; k < depth; k += 256, row += 210) {
      prefetch(row, 210);
      std::uint16_t half;
      __builtin_memcpy(&half, row + 208, 2);
      const Vec d = _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
      const Vec scale = V::mul(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load16(row + 192))));
      offsets = V::fma(scale, V::load(x.half_sums + k / 16), offsets);
      const Vec scales = V::mul(scale, V::load(x.scales + k / 16));
      Ints lanes = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
      const auto add = [&](std::int64_t at, Ints lower, Ints bits) {
        const Vec product = products(x, at, _mm512_or_si512(lower, _mm512_and_si512(bits, two)));
        sum = V::fma(product, _mm512_permutexvar_ps(lanes, scales), sum);
        lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(4));
      };
      ERNIE_IMAGE_UNROLL
      for (int upper = 0; upper < 2; ++upper) {
        const Ints q = V::load_ints(row + 64 * upper);
        const Ints h = _mm512_broadcast_i64x4(load32(row + 128 + 32 * upper));
        add(k + 128 * upper, Decoder::low(q), _mm512_sllv_epi64(h, low_shifts));
        add(k + 128 * upper + 64, Decoder::high(q), _mm512_srlv_epi64(h, high_shifts));
      }
    }
    return V::reduce_add(_mm512_fnmadd_ps(V::broadcast(32.0f), offsets, sum));
  }

  static void multiply(BlockFormat format, const Vector& x, const std::byte* const* rows, int count,
                       std::int64_t depth, float* result) {
    for (int n = 0; n < count; ++n) {
      switch (format) {
        case BlockFormat::q8_0:
          result[n] = q8_0(rows[n], depth, x);
          break;
        case BlockFormat::q4_0:
          result[n] = q4_0(rows[n], depth, x);
          break;
        case BlockFormat::iq4_nl:
          result[n] = iq4_nl(rows[n], depth, x);
          break;
        case BlockFormat::q4_k:
          result[n] = q4_k(rows[n], depth, x);
          break;
        case BlockFormat::q5_k:
          result[n] = q5_k(rows[n], depth, x);
          break;
        case BlockFormat::q6_k:
          result[n] = q6_k(rows[n], depth, x);
          break;
        case BlockFormat::none:
          break;
      }
    }
  }
};

}  // namespace ernie_image
