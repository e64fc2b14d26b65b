// Vector policy for AArch64 NEON (see simd.h).
#pragma once

#include <arm_neon.h>

#include "backend/cpu/simd.h"

namespace ernie_image {

struct Neon {
  using Vec = float32x4_t;
  using Mask = uint32x4_t;
  static constexpr int kWidth = 4;
  static constexpr int kTileRows = 8;  // 24 accumulators, 3 of B, 1 of A: 28 of 32 registers
  static constexpr int kTileVectors = 3;
  static constexpr int kConvTileRows = kTileRows;
  static constexpr int kConvTileVectors = kTileVectors;

  ERNIE_IMAGE_SIMD Vec zero() { return vdupq_n_f32(0.0f); }
  ERNIE_IMAGE_SIMD Vec broadcast(float x) { return vdupq_n_f32(x); }

  ERNIE_IMAGE_SIMD Vec load(const float* p) { return vreinterpretq_f32_u8(vld1q_u8(bytes(p))); }
  ERNIE_IMAGE_SIMD Vec load(const Bf16* p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(bytes(p))), 16));
  }
  ERNIE_IMAGE_SIMD Vec load(const F16* p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(bytes(p))));
  }
  template <class T>
  ERNIE_IMAGE_SIMD Vec load_partial(const T* p, int n) {
    T lanes[kWidth] = {};
    __builtin_memcpy(lanes, p, static_cast<unsigned>(n) * sizeof(T));
    return load(lanes);
  }

  ERNIE_IMAGE_SIMD void store(float* p, Vec v) {
    vst1q_u8(reinterpret_cast<std::uint8_t*>(p), vreinterpretq_u8_f32(v));
  }
  ERNIE_IMAGE_SIMD void store(Bf16* p, Vec v) {
    const uint16x4_t packed = vmovn_u32(bf16_bits(v));
    vst1_u8(reinterpret_cast<std::uint8_t*>(p), vreinterpret_u8_u16(packed));
  }
  template <class T>
  ERNIE_IMAGE_SIMD void store_partial(T* p, Vec v, int n) {
    T lanes[kWidth];
    store(lanes, v);
    __builtin_memcpy(p, lanes, static_cast<unsigned>(n) * sizeof(T));
  }

  ERNIE_IMAGE_SIMD Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
  ERNIE_IMAGE_SIMD Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
  ERNIE_IMAGE_SIMD Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
  ERNIE_IMAGE_SIMD Vec div(Vec a, Vec b) { return vdivq_f32(a, b); }
  ERNIE_IMAGE_SIMD Vec min(Vec a, Vec b) { return vminq_f32(a, b); }
  ERNIE_IMAGE_SIMD Vec max(Vec a, Vec b) { return vmaxq_f32(a, b); }
  ERNIE_IMAGE_SIMD Vec sqrt(Vec v) { return vsqrtq_f32(v); }
  ERNIE_IMAGE_SIMD Vec abs(Vec v) { return vabsq_f32(v); }
  ERNIE_IMAGE_SIMD Vec neg(Vec v) { return vnegq_f32(v); }
  ERNIE_IMAGE_SIMD Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
  ERNIE_IMAGE_SIMD Vec copysign(Vec magnitude, Vec sign) {
    return vbslq_f32(vdupq_n_u32(0x80000000u), sign, magnitude);
  }
  ERNIE_IMAGE_SIMD Vec round(Vec v) { return vrndnq_f32(v); }
  ERNIE_IMAGE_SIMD Vec round_to_bf16(Vec v) {
    return vreinterpretq_f32_u32(vshlq_n_u32(bf16_bits(v), 16));
  }
  ERNIE_IMAGE_SIMD Vec scale_by_power_of_two(Vec v, Vec n) {
    const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
    return vmulq_f32(v, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)));
  }

  ERNIE_IMAGE_SIMD Mask less(Vec a, Vec b) { return vcltq_f32(a, b); }
  ERNIE_IMAGE_SIMD Vec select(Mask mask, Vec yes, Vec no) { return vbslq_f32(mask, yes, no); }

  ERNIE_IMAGE_SIMD float reduce_add(Vec v) { return vaddvq_f32(v); }
  ERNIE_IMAGE_SIMD float reduce_max(Vec v) { return vmaxvq_f32(v); }

  ERNIE_IMAGE_SIMD void transpose(Vec (&r)[4]) {
    const float32x4x2_t low = vzipq_f32(r[0], r[2]);   // a0 c0 a1 c1, a2 c2 a3 c3
    const float32x4x2_t high = vzipq_f32(r[1], r[3]);  // b0 d0 b1 d1, b2 d2 b3 d3
    const float32x4x2_t first = vzipq_f32(low.val[0], high.val[0]);
    const float32x4x2_t second = vzipq_f32(low.val[1], high.val[1]);
    r[0] = first.val[0];
    r[1] = first.val[1];
    r[2] = second.val[0];
    r[3] = second.val[1];
  }

  ERNIE_IMAGE_SIMD Vec bf16_even(Vec v) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(v), 16));
  }
  ERNIE_IMAGE_SIMD Vec bf16_odd(Vec v) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), vdupq_n_u32(0xffff0000u)));
  }

  // ---- quantised products ----

  using Ints = int32x4_t;
  static constexpr bool kOffsetCodes = false;  // signed activations, sums in 32 bits
  static constexpr bool kScalesEachStep = false;
  static constexpr int kPackedRows = 4;  // 16 sums, 4 of weights, 1 of activations

  ERNIE_IMAGE_SIMD Ints zero_ints() { return vdupq_n_s32(0); }
  ERNIE_IMAGE_SIMD Ints load_ints(const void* p) {
    return vreinterpretq_s32_u8(vld1q_u8(bytes(p)));
  }
  ERNIE_IMAGE_SIMD void store_ints(void* p, Ints v) {
    vst1q_u8(static_cast<std::uint8_t*>(p), vreinterpretq_u8_s32(v));
  }
  ERNIE_IMAGE_SIMD Vec ints_to_float(Ints v) { return vcvtq_f32_s32(v); }
  ERNIE_IMAGE_SIMD Ints broadcast_step(const std::uint8_t* codes) {
    std::int32_t step;
    __builtin_memcpy(&step, codes, sizeof(step));
    return vdupq_n_s32(step);
  }
  ERNIE_IMAGE_SIMD Ints low_codes(Ints pairs) {
    return codes_of(vandq_u8(vreinterpretq_u8_s32(pairs), vdupq_n_u8(15)));
  }
  ERNIE_IMAGE_SIMD Ints high_codes(Ints pairs) {
    return codes_of(vshrq_n_u8(vreinterpretq_u8_s32(pairs), 4));
  }
  ERNIE_IMAGE_SIMD Ints load_group_scales(const std::byte* scales) {
    std::uint32_t word;
    __builtin_memcpy(&word, scales, sizeof(word));
    return vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(word))));
  }
  ERNIE_IMAGE_SIMD Ints dot4(Ints x, Ints w) { return add_dot4(zero_ints(), x, w); }
  ERNIE_IMAGE_SIMD Ints add_dot4(Ints sum, Ints x, Ints w) {
    const int8x16_t a = vreinterpretq_s8_s32(x), b = vreinterpretq_s8_s32(w);
    // Sums of two products of at most 127 * 127 or 127 * 8 fit 16 bits, and then there are pairs.
    const int16x8_t low = vpaddq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)), vmull_high_s8(a, b));
    return vpadalq_s16(sum, low);
  }
  ERNIE_IMAGE_SIMD Ints add_scaled(Ints total, Ints sum, Ints scale) {
    return vmlaq_s32(total, sum, scale);
  }
  ERNIE_IMAGE_SIMD void keep(Ints& v) { asm("" : "+w"(v)); }
  ERNIE_IMAGE_SIMD void store_steps(std::uint8_t* codes, std::int64_t, Vec v) {
    const int16x4_t words = vqmovn_s32(vcvtnq_s32_f32(v));
    const int8x8_t step = vqmovn_s16(vcombine_s16(words, words));
    const std::uint64_t word = vget_lane_u64(vreinterpret_u64_s8(step), 0);
    __builtin_memcpy(codes, &word, 4);
  }

 private:
  ERNIE_IMAGE_SIMD Ints codes_of(uint8x16_t nibbles) {
    return vreinterpretq_s32_u8(vsubq_u8(nibbles, vdupq_n_u8(8)));
  }
  ERNIE_IMAGE_SIMD const std::uint8_t* bytes(const void* p) {
    return static_cast<const std::uint8_t*>(p);
  }
  ERNIE_IMAGE_SIMD uint32x4_t bf16_bits(Vec v) {  // in the lower half of each 32-bit lane
    const uint32x4_t bits = vreinterpretq_u32_f32(v);
    const uint32x4_t high = vshrq_n_u32(bits, 16);
    const uint32x4_t bias = vaddq_u32(vandq_u32(high, vdupq_n_u32(1)), vdupq_n_u32(0x7fff));
    const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(bits, bias), 16);
    const uint32x4_t quiet_nan = vorrq_u32(high, vdupq_n_u32(0x40));
    return vbslq_u32(vceqq_f32(v, v), rounded, quiet_nan);
  }
};

}  // namespace ernie_image
