// Vector policy for AVX2 with FMA and F16C (see simd.h).
#pragma once

#include <immintrin.h>

#include "backend/cpu/simd.h"

namespace ernie_image {

struct Avx2 {
  using Vec = __m256;
  using Mask = __m256;
  static constexpr int kWidth = 8;
  static constexpr int kTileRows = 4;  // 12 accumulators, 3 of B, 1 of A: all 16 registers
  static constexpr int kTileVectors = 3;
  static constexpr int kConvTileRows = 6;  // 128 channels are no multiple of 3 vectors
  static constexpr int kConvTileVectors = 2;

  ERNIE_IMAGE_SIMD Vec zero() { return _mm256_setzero_ps(); }
  ERNIE_IMAGE_SIMD Vec broadcast(float x) { return _mm256_set1_ps(x); }

  ERNIE_IMAGE_SIMD Vec load(const float* p) { return _mm256_loadu_ps(p); }
  ERNIE_IMAGE_SIMD Vec load(const Bf16* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  ERNIE_IMAGE_SIMD Vec load(const F16* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  template <class T>
  ERNIE_IMAGE_SIMD Vec load_partial(const T* p, int n) {
    alignas(32) T lanes[kWidth] = {};
    __builtin_memcpy(lanes, p, static_cast<unsigned>(n) * sizeof(T));
    return load(lanes);
  }

  ERNIE_IMAGE_SIMD void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
  ERNIE_IMAGE_SIMD void store(Bf16* p, Vec v) {
    const __m256i wide = bf16_bits(v);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(wide, wide), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
  }
  template <class T>
  ERNIE_IMAGE_SIMD void store_partial(T* p, Vec v, int n) {
    alignas(32) T lanes[kWidth];
    store(lanes, v);
    __builtin_memcpy(p, lanes, static_cast<unsigned>(n) * sizeof(T));
  }

  ERNIE_IMAGE_SIMD Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
  ERNIE_IMAGE_SIMD Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
  ERNIE_IMAGE_SIMD Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
  ERNIE_IMAGE_SIMD Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
  ERNIE_IMAGE_SIMD Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
  ERNIE_IMAGE_SIMD Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
  ERNIE_IMAGE_SIMD Vec sqrt(Vec v) { return _mm256_sqrt_ps(v); }
  ERNIE_IMAGE_SIMD Vec abs(Vec v) { return _mm256_andnot_ps(broadcast(-0.0f), v); }
  ERNIE_IMAGE_SIMD Vec neg(Vec v) { return _mm256_xor_ps(broadcast(-0.0f), v); }
  ERNIE_IMAGE_SIMD Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  ERNIE_IMAGE_SIMD Vec copysign(Vec magnitude, Vec sign) {
    return _mm256_or_ps(abs(magnitude), _mm256_and_ps(broadcast(-0.0f), sign));
  }
  ERNIE_IMAGE_SIMD Vec round(Vec v) {
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  ERNIE_IMAGE_SIMD Vec round_to_bf16(Vec v) {
    const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    const Vec rounded = _mm256_castsi256_ps(_mm256_and_si256(add_half_step(v), upper));
    return _mm256_blendv_ps(rounded, v, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  }
  ERNIE_IMAGE_SIMD Vec scale_by_power_of_two(Vec v, Vec n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
  }

  ERNIE_IMAGE_SIMD Mask less(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
  ERNIE_IMAGE_SIMD Vec select(Mask mask, Vec yes, Vec no) {
    return _mm256_blendv_ps(no, yes, mask);
  }

  ERNIE_IMAGE_SIMD float reduce_add(Vec v) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
  }
  ERNIE_IMAGE_SIMD float reduce_max(Vec v) {
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
  }

  ERNIE_IMAGE_SIMD void transpose(Vec (&r)[8]) {
    Vec t[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {  // pairs of rows, interleaved
      t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    Vec q[8];
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {  // four rows of one column within each half
      q[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
      q[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
      q[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      q[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      r[i] = _mm256_permute2f128_ps(q[i], q[i + 4], 0x20);
      r[i + 4] = _mm256_permute2f128_ps(q[i], q[i + 4], 0x31);
    }
  }

  ERNIE_IMAGE_SIMD Vec bf16_even(Vec v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 16));
  }
  ERNIE_IMAGE_SIMD Vec bf16_odd(Vec v) {
    const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(v), upper));
  }

  // ---- quantised products ----

  using Ints = __m256i;
  static constexpr bool kOffsetCodes = true;     // vpmaddubsw takes unsigned activations
  static constexpr bool kScalesEachStep = true;  // and sums in 16 bits
  static constexpr int kPackedRows = 6;  // 12 totals, 2 of scales, 1 of activations, 1 of products

  ERNIE_IMAGE_SIMD Ints zero_ints() { return _mm256_setzero_si256(); }
  ERNIE_IMAGE_SIMD Ints load_ints(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  ERNIE_IMAGE_SIMD void store_ints(void* p, Ints v) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), v);
  }
  ERNIE_IMAGE_SIMD Vec ints_to_float(Ints v) { return _mm256_cvtepi32_ps(v); }
  ERNIE_IMAGE_SIMD Ints negated_times_largest_code(Ints v) {
    return _mm256_mullo_epi32(v, _mm256_set1_epi32(-kLargestCode));
  }
  ERNIE_IMAGE_SIMD Ints broadcast_step(const std::uint8_t* codes) {
    int step;
    __builtin_memcpy(&step, codes, sizeof(step));
    return _mm256_set1_epi32(step);
  }
  ERNIE_IMAGE_SIMD Ints low_codes(Ints pairs) {
    const Ints low = _mm256_and_si256(pairs, _mm256_set1_epi8(15));
    return _mm256_sub_epi8(low, _mm256_set1_epi8(8));
  }
  ERNIE_IMAGE_SIMD Ints high_codes(Ints pairs) { return low_codes(_mm256_srli_epi16(pairs, 4)); }
  ERNIE_IMAGE_SIMD Ints load_group_scales(const std::byte* scales) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(scales));
    const Ints wide = _mm256_cvtepi8_epi32(bytes);
    return _mm256_blend_epi16(wide, _mm256_slli_epi32(wide, 16), 0xaa);
  }
  ERNIE_IMAGE_SIMD Ints dot4(Ints x, Ints w) { return _mm256_maddubs_epi16(x, w); }
  ERNIE_IMAGE_SIMD Ints add_dot4(Ints sum, Ints x, Ints w) {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(x, w));
  }
  ERNIE_IMAGE_SIMD Ints add_scaled(Ints total, Ints sum, Ints scale) {
    return _mm256_add_epi32(total, _mm256_madd_epi16(sum, scale));
  }
  ERNIE_IMAGE_SIMD Ints add_scaled_dot4(Ints total, Ints x, Ints w, Ints scale) {
    return add_scaled(total, dot4(x, w), scale);
  }
  ERNIE_IMAGE_SIMD void keep(Ints& v) { asm volatile("" : "+x"(v) : : "memory"); }
  ERNIE_IMAGE_SIMD void store_steps(std::uint8_t* codes, std::int64_t stride, Vec v) {
    const Ints offset = _mm256_add_epi32(_mm256_cvtps_epi32(v), _mm256_set1_epi32(kLargestCode));
    const Ints words = _mm256_packus_epi32(offset, offset);
    const Ints bytes = _mm256_packus_epi16(words, words);
    const int low = _mm256_extract_epi32(bytes, 0), high = _mm256_extract_epi32(bytes, 4);
    __builtin_memcpy(codes, &low, sizeof(low));
    __builtin_memcpy(codes + stride, &high, sizeof(high));
  }

 private:
  /// So that cutting the lower half off rounds to nearest, ties to even.
  ERNIE_IMAGE_SIMD __m256i add_half_step(Vec v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  }
  ERNIE_IMAGE_SIMD __m256i bf16_bits(Vec v) {  // in the lower half of each 32-bit lane
    const __m256i rounded = _mm256_srli_epi32(add_half_step(v), 16);
    const __m256i high = _mm256_srli_epi32(_mm256_castps_si256(v), 16);
    const __m256i quiet_nan = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(rounded, quiet_nan, is_nan);
  }
};

}  // namespace ernie_image
