// Vector policy for AVX-512 F, BW, DQ and VL (see simd.h).
#pragma once

#include <immintrin.h>

#include "backend/cpu/simd.h"

namespace ernie_image {

struct Avx512 {
  using Vec = __m512;
  using Mask = __mmask16;
  static constexpr int kWidth = 16;
  static constexpr int kTileRows = 12;  // 24 accumulators, 2 of B, 1 of A: 27 of 32 registers
  static constexpr int kTileVectors = 2;
  static constexpr int kConvTileRows = kTileRows;
  static constexpr int kConvTileVectors = kTileVectors;

  ERNIE_IMAGE_SIMD Mask first_lanes(int n) { return static_cast<Mask>((1u << n) - 1u); }

  ERNIE_IMAGE_SIMD Vec zero() { return _mm512_setzero_ps(); }
  ERNIE_IMAGE_SIMD Vec broadcast(float x) { return _mm512_set1_ps(x); }

  ERNIE_IMAGE_SIMD Vec load(const float* p) { return _mm512_loadu_ps(p); }
  ERNIE_IMAGE_SIMD Vec load(const Bf16* p) { return widen_bf16(_mm256_loadu_si256(words(p))); }
  ERNIE_IMAGE_SIMD Vec load(const F16* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(words(p))); }
  ERNIE_IMAGE_SIMD Vec load_partial(const float* p, int n) {
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
  }
  ERNIE_IMAGE_SIMD Vec load_partial(const Bf16* p, int n) {
    return widen_bf16(_mm256_maskz_loadu_epi16(first_lanes(n), p));
  }
  ERNIE_IMAGE_SIMD Vec load_partial(const F16* p, int n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n), p));
  }

  ERNIE_IMAGE_SIMD void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  ERNIE_IMAGE_SIMD void store(Bf16* p, Vec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), round_bf16(v));
  }
  ERNIE_IMAGE_SIMD void store_partial(float* p, Vec v, int n) {
    _mm512_mask_storeu_ps(p, first_lanes(n), v);
  }
  ERNIE_IMAGE_SIMD void store_partial(Bf16* p, Vec v, int n) {
    _mm256_mask_storeu_epi16(p, first_lanes(n), round_bf16(v));
  }

  ERNIE_IMAGE_SIMD Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  ERNIE_IMAGE_SIMD Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
  ERNIE_IMAGE_SIMD Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  ERNIE_IMAGE_SIMD Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
  ERNIE_IMAGE_SIMD Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
  ERNIE_IMAGE_SIMD Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
  ERNIE_IMAGE_SIMD Vec sqrt(Vec v) { return _mm512_sqrt_ps(v); }
  ERNIE_IMAGE_SIMD Vec abs(Vec v) { return _mm512_andnot_ps(broadcast(-0.0f), v); }
  ERNIE_IMAGE_SIMD Vec neg(Vec v) { return _mm512_xor_ps(broadcast(-0.0f), v); }
  ERNIE_IMAGE_SIMD Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  ERNIE_IMAGE_SIMD Vec copysign(Vec magnitude, Vec sign) {
    return _mm512_or_ps(abs(magnitude), _mm512_and_ps(broadcast(-0.0f), sign));
  }
  ERNIE_IMAGE_SIMD Vec round(Vec v) {
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  ERNIE_IMAGE_SIMD Vec round_to_bf16(Vec v) {
    const Mask is_number = _mm512_cmp_ps_mask(v, v, _CMP_ORD_Q);
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    return _mm512_castsi512_ps(
        _mm512_mask_and_epi32(_mm512_castps_si512(v), is_number, add_half_step(v), upper));
  }
  ERNIE_IMAGE_SIMD Vec scale_by_power_of_two(Vec v, Vec n) { return _mm512_scalef_ps(v, n); }

  ERNIE_IMAGE_SIMD Mask less(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  ERNIE_IMAGE_SIMD Vec select(Mask mask, Vec yes, Vec no) {
    return _mm512_mask_blend_ps(mask, no, yes);
  }

  ERNIE_IMAGE_SIMD float reduce_add(Vec v) { return _mm512_reduce_add_ps(v); }
  ERNIE_IMAGE_SIMD float reduce_max(Vec v) { return _mm512_reduce_max_ps(v); }

  ERNIE_IMAGE_SIMD void transpose(Vec (&r)[16]) {
    Vec t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {  // pairs of rows, interleaved
      t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {  // four rows of one column within each quarter
      r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
      r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
      r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {  // quarters of rows 0-7 and of rows 8-15
      t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
      t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
      t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
      t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
      r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
      r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
      r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
    }
  }

  ERNIE_IMAGE_SIMD Vec bf16_even(Vec v) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 16));
  }
  ERNIE_IMAGE_SIMD Vec bf16_odd(Vec v) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(v), upper));
  }

  // ---- quantised products ----

  using Ints = __m512i;
  static constexpr bool kOffsetCodes = true;     // vpmaddubsw takes unsigned activations
  static constexpr bool kScalesEachStep = true;  // and sums in 16 bits
  static constexpr int kPackedRows = 12;

  ERNIE_IMAGE_SIMD Ints zero_ints() { return _mm512_setzero_si512(); }
  ERNIE_IMAGE_SIMD Ints load_ints(const void* p) { return _mm512_loadu_si512(p); }
  ERNIE_IMAGE_SIMD void store_ints(void* p, Ints v) { _mm512_storeu_si512(p, v); }
  ERNIE_IMAGE_SIMD Vec ints_to_float(Ints v) { return _mm512_cvtepi32_ps(v); }
  ERNIE_IMAGE_SIMD Ints negated_times_largest_code(Ints v) {
    return _mm512_mullo_epi32(v, _mm512_set1_epi32(-kLargestCode));
  }
  ERNIE_IMAGE_SIMD Ints broadcast_step(const std::uint8_t* codes) {
    int step;
    __builtin_memcpy(&step, codes, sizeof(step));
    return _mm512_set1_epi32(step);
  }
  ERNIE_IMAGE_SIMD Ints low_codes(Ints pairs) {
    const Ints low = _mm512_and_si512(pairs, _mm512_set1_epi8(15));
    return _mm512_sub_epi8(low, _mm512_set1_epi8(8));
  }
  ERNIE_IMAGE_SIMD Ints high_codes(Ints pairs) { return low_codes(_mm512_srli_epi16(pairs, 4)); }
  ERNIE_IMAGE_SIMD Ints load_group_scales(const std::byte* scales) {
    const Ints wide =
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales)));
    return _mm512_mask_blend_epi16(0xaaaaaaaau, wide, _mm512_slli_epi32(wide, 16));
  }
  ERNIE_IMAGE_SIMD Ints dot4(Ints x, Ints w) { return _mm512_maddubs_epi16(x, w); }
  ERNIE_IMAGE_SIMD Ints add_dot4(Ints sum, Ints x, Ints w) {
    return _mm512_add_epi16(sum, _mm512_maddubs_epi16(x, w));
  }
  ERNIE_IMAGE_SIMD Ints add_scaled(Ints total, Ints sum, Ints scale) {
    return _mm512_add_epi32(total, _mm512_madd_epi16(sum, scale));
  }
  ERNIE_IMAGE_SIMD Ints add_scaled_dot4(Ints total, Ints x, Ints w, Ints scale) {
    return add_scaled(total, dot4(x, w), scale);
  }
  ERNIE_IMAGE_SIMD void keep(Ints& v) { asm volatile("" : "+v"(v) : : "memory"); }
  ERNIE_IMAGE_SIMD void store_steps(std::uint8_t* codes, std::int64_t stride, Vec v) {
    const Ints offset = _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(kLargestCode));
    const __m128i bytes = _mm512_cvtusepi32_epi8(_mm512_max_epi32(offset, zero_ints()));
    alignas(16) std::uint8_t steps[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(steps), bytes);
    for (int step = 0; step < 4; ++step)
      __builtin_memcpy(codes + step * stride, steps + step * 4, 4);
  }

 private:
  ERNIE_IMAGE_SIMD const __m256i* words(const void* p) { return static_cast<const __m256i*>(p); }
  ERNIE_IMAGE_SIMD Vec widen_bf16(__m256i bits) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  /// So that cutting the lower half off rounds to nearest, ties to even.
  ERNIE_IMAGE_SIMD __m512i add_half_step(Vec v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    return _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  }
  ERNIE_IMAGE_SIMD __m256i round_bf16(Vec v) {
    const __m512i rounded = _mm512_srli_epi32(add_half_step(v), 16);
    const __m512i high = _mm512_srli_epi32(_mm512_castps_si512(v), 16);
    const Mask is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(
        _mm512_mask_or_epi32(rounded, is_nan, high, _mm512_set1_epi32(0x40)));
  }
};

}  // namespace ernie_image
