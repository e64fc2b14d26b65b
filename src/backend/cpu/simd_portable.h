// Vector policy in plain C++ with the vector extension of GCC and Clang, for any processor (see
// simd.h).
#pragma once

#include "backend/cpu/simd.h"

namespace ernie_image {

struct Portable {
  using Vec = float __attribute__((vector_size(16)));
  using Mask = std::int32_t __attribute__((vector_size(16)));
  using Bits = std::uint32_t __attribute__((vector_size(16)));
  static constexpr int kWidth = 4;
  static constexpr int kTileRows = 4;  // 8 accumulators: fits the 16 registers of plain x86-64
  static constexpr int kTileVectors = 2;
  static constexpr int kConvTileRows = kTileRows;
  static constexpr int kConvTileVectors = kTileVectors;

  ERNIE_IMAGE_SIMD Vec zero() { return Vec{}; }
  ERNIE_IMAGE_SIMD Vec broadcast(float x) { return Vec{x, x, x, x}; }

  ERNIE_IMAGE_SIMD Vec load(const float* p) {
    Vec v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  ERNIE_IMAGE_SIMD Vec load(const Bf16* p) {
    std::uint16_t bits[kWidth];
    __builtin_memcpy(bits, p, sizeof(bits));
    return reinterpret_cast<Vec>(Bits{bits[0], bits[1], bits[2], bits[3]} << 16);
  }
  ERNIE_IMAGE_SIMD Vec load(const F16* p) {
    std::uint16_t words[kWidth];
    __builtin_memcpy(words, p, sizeof(words));
    const Bits half = {words[0], words[1], words[2], words[3]};
    const Bits sign = (half & 0x8000u) << 16;
    // The exponent bias of float is larger by 112; the product also normalises subnormals.
    const Vec magnitude = reinterpret_cast<Vec>((half & 0x7fffu) << 13) * 0x1p112f;
    const Bits special = reinterpret_cast<Bits>((half & 0x7c00u) == 0x7c00u) & 0x7f800000u;
    return reinterpret_cast<Vec>(reinterpret_cast<Bits>(magnitude) | special | sign);
  }
  template <class T>
  ERNIE_IMAGE_SIMD Vec load_partial(const T* p, int n) {
    T lanes[kWidth] = {};
    __builtin_memcpy(lanes, p, static_cast<unsigned>(n) * sizeof(T));
    return load(lanes);
  }

  ERNIE_IMAGE_SIMD void store(float* p, Vec v) { __builtin_memcpy(p, &v, sizeof(v)); }
  ERNIE_IMAGE_SIMD void store(Bf16* p, Vec v) {
    const Bits wide = bf16_bits(v);
    const std::uint16_t words[kWidth] = {
        static_cast<std::uint16_t>(wide[0]), static_cast<std::uint16_t>(wide[1]),
        static_cast<std::uint16_t>(wide[2]), static_cast<std::uint16_t>(wide[3])};
    __builtin_memcpy(p, words, sizeof(words));
  }
  template <class T>
  ERNIE_IMAGE_SIMD void store_partial(T* p, Vec v, int n) {
    T lanes[kWidth];
    store(lanes, v);
    __builtin_memcpy(p, lanes, static_cast<unsigned>(n) * sizeof(T));
  }

  ERNIE_IMAGE_SIMD Vec add(Vec a, Vec b) { return a + b; }
  ERNIE_IMAGE_SIMD Vec sub(Vec a, Vec b) { return a - b; }
  ERNIE_IMAGE_SIMD Vec mul(Vec a, Vec b) { return a * b; }
  ERNIE_IMAGE_SIMD Vec div(Vec a, Vec b) { return a / b; }
  ERNIE_IMAGE_SIMD Vec min(Vec a, Vec b) { return select(a < b, a, b); }
  ERNIE_IMAGE_SIMD Vec max(Vec a, Vec b) { return select(b < a, a, b); }
  ERNIE_IMAGE_SIMD Vec sqrt(Vec v) {
    return Vec{__builtin_sqrtf(v[0]), __builtin_sqrtf(v[1]), __builtin_sqrtf(v[2]),
               __builtin_sqrtf(v[3])};
  }
  ERNIE_IMAGE_SIMD Vec abs(Vec v) {
    return reinterpret_cast<Vec>(reinterpret_cast<Bits>(v) & 0x7fffffffu);
  }
  ERNIE_IMAGE_SIMD Vec neg(Vec v) { return -v; }
  ERNIE_IMAGE_SIMD Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
  ERNIE_IMAGE_SIMD Vec copysign(Vec magnitude, Vec sign) {
    const Bits sign_bit = reinterpret_cast<Bits>(sign) & 0x80000000u;
    return reinterpret_cast<Vec>(reinterpret_cast<Bits>(abs(magnitude)) | sign_bit);
  }
  ERNIE_IMAGE_SIMD Vec round(Vec v) {
    constexpr float kMagic = 0x1.8p23f;  // adding it leaves no fraction bits
    return (v + kMagic) - kMagic;
  }
  ERNIE_IMAGE_SIMD Vec round_to_bf16(Vec v) { return reinterpret_cast<Vec>(bf16_bits(v) << 16); }
  ERNIE_IMAGE_SIMD Vec scale_by_power_of_two(Vec v, Vec n) {
    const Mask exponent = __builtin_convertvector(n, Mask) + 127;
    return v * reinterpret_cast<Vec>(exponent << 23);
  }

  ERNIE_IMAGE_SIMD Mask less(Vec a, Vec b) { return a < b; }
  ERNIE_IMAGE_SIMD Vec select(Mask mask, Vec yes, Vec no) {
    return reinterpret_cast<Vec>((reinterpret_cast<Mask>(yes) & mask) |
                                 (reinterpret_cast<Mask>(no) & ~mask));
  }

  ERNIE_IMAGE_SIMD float reduce_add(Vec v) { return (v[0] + v[2]) + (v[1] + v[3]); }
  ERNIE_IMAGE_SIMD float reduce_max(Vec v) {
    const float even = v[0] > v[2] ? v[0] : v[2];
    const float odd = v[1] > v[3] ? v[1] : v[3];
    return even > odd ? even : odd;
  }

  ERNIE_IMAGE_SIMD void transpose(Vec (&r)[4]) {
    const Vec low = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);   // a0 b0 a1 b1
    const Vec high = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);  // a2 b2 a3 b3
    const Vec low2 = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
    const Vec high2 = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    r[0] = __builtin_shufflevector(low, low2, 0, 1, 4, 5);
    r[1] = __builtin_shufflevector(low, low2, 2, 3, 6, 7);
    r[2] = __builtin_shufflevector(high, high2, 0, 1, 4, 5);
    r[3] = __builtin_shufflevector(high, high2, 2, 3, 6, 7);
  }

  // The two halves of a lane change places on a big-endian processor; none is supported.
  ERNIE_IMAGE_SIMD Vec bf16_even(Vec v) {
    return reinterpret_cast<Vec>(reinterpret_cast<Bits>(v) << 16);
  }
  ERNIE_IMAGE_SIMD Vec bf16_odd(Vec v) {
    return reinterpret_cast<Vec>(reinterpret_cast<Bits>(v) & 0xffff0000u);
  }

  // ---- quantised products: four bytes in each lane ----

  using Ints = std::int32_t __attribute__((vector_size(16)));
  static constexpr bool kOffsetCodes = false;
  static constexpr bool kScalesEachStep = false;
  static constexpr int kPackedRows = 2;

  ERNIE_IMAGE_SIMD Ints zero_ints() { return Ints{}; }
  ERNIE_IMAGE_SIMD Ints load_ints(const void* p) {
    Ints v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  ERNIE_IMAGE_SIMD void store_ints(void* p, Ints v) { __builtin_memcpy(p, &v, sizeof(v)); }
  ERNIE_IMAGE_SIMD Vec ints_to_float(Ints v) { return __builtin_convertvector(v, Vec); }
  ERNIE_IMAGE_SIMD Ints broadcast_step(const std::uint8_t* codes) {
    std::int32_t step;
    __builtin_memcpy(&step, codes, sizeof(step));
    return Ints{step, step, step, step};
  }
  ERNIE_IMAGE_SIMD Ints low_codes(Ints pairs) { return codes_of(pairs & 0x0f0f0f0f); }
  ERNIE_IMAGE_SIMD Ints high_codes(Ints pairs) { return codes_of((pairs >> 4) & 0x0f0f0f0f); }
  ERNIE_IMAGE_SIMD Ints load_group_scales(const std::byte* scales) {
    std::int8_t values[kWidth];
    __builtin_memcpy(values, scales, sizeof(values));
    return Ints{values[0], values[1], values[2], values[3]};
  }
  ERNIE_IMAGE_SIMD Ints dot4(Ints x, Ints w) {
    return byte_of<0>(x) * byte_of<0>(w) + byte_of<1>(x) * byte_of<1>(w) +
           (byte_of<2>(x) * byte_of<2>(w) + byte_of<3>(x) * byte_of<3>(w));
  }
  ERNIE_IMAGE_SIMD Ints add_dot4(Ints sum, Ints x, Ints w) { return sum + dot4(x, w); }
  ERNIE_IMAGE_SIMD Ints add_scaled(Ints total, Ints sum, Ints scale) { return total + sum * scale; }
  ERNIE_IMAGE_SIMD void keep(Ints&) {}
  ERNIE_IMAGE_SIMD void store_steps(std::uint8_t* codes, std::int64_t, Vec v) {
    const Vec number = select(v == v, v, zero());
    const Ints rounded = __builtin_convertvector(round(number), Ints);
    for (int i = 0; i < kWidth; ++i) codes[i] = static_cast<std::uint8_t>(rounded[i]);
  }

 private:
  /// Byte kByte of each lane, with its sign.
  template <int kByte>
  ERNIE_IMAGE_SIMD Ints byte_of(Ints v) {
    return reinterpret_cast<Ints>(reinterpret_cast<Bits>(v) << (24 - 8 * kByte)) >> 24;
  }
  /// n - 8 of each byte n of 0..15: in two's complement, n ^ 8 with the fourth bit as the sign.
  ERNIE_IMAGE_SIMD Ints codes_of(Ints nibbles) {
    const Bits bits = reinterpret_cast<Bits>(nibbles);
    const Bits negative = (bits & 0x08080808u) ^ 0x08080808u;  // below 8
    return reinterpret_cast<Ints>((bits ^ 0x08080808u) | (negative << 1) * 15u);
  }
  ERNIE_IMAGE_SIMD Bits bf16_bits(Vec v) {  // in the lower half of each 32-bit lane
    const Bits bits = reinterpret_cast<Bits>(v);
    const Bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const Bits quiet_nan = (bits >> 16) | 0x40u;
    const Bits is_number = reinterpret_cast<Bits>(v == v);
    return (rounded & is_number) | (quiet_nan & ~is_number);
  }
};

}  // namespace ernie_image
