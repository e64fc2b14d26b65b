// What the vector policies (simd_avx2.h, simd_avx512.h, simd_neon.h, simd_portable.h) share.
//
// A policy V is a struct of static functions over one register type, with the same names in each:
//   Vec, Mask, kWidth                       floats in a register
//   kTileRows, kTileVectors                 the GEMM tile that fills the register file
//   kConvTileRows, kConvTileVectors         the same for the channel counts of convolutions
//   zero(), broadcast(x)
//   load(p), load_partial(p, n)             float, Bf16 or F16, widened; lanes from n on are 0
//   store(p, v), store_partial(p, v, n)     float or Bf16, to nearest even; a NaN stays a NaN
//   add, sub, mul, div, min, max, sqrt, abs, neg
//   fma(a, b, c)                            a * b + c
//   copysign(magnitude, sign)
//   round(v)                                to the nearest integer, |v| < 2^22
//   round_to_bf16(v)                        to nearest even; a NaN stays a NaN
//   scale_by_power_of_two(v, n)             v * 2^n, n integral in [-126, 127]
//   less(a, b), select(mask, yes, no)
//   reduce_add(v), reduce_max(v)
//   transpose(rows)                         kWidth x kWidth, any 32-bit contents
//   bf16_even(v), bf16_odd(v)               the lower / upper bf16 of each 32-bit lane, widened
// and for quantised products (packed_gemm.h), where "codes" are four bytes in each 32-bit lane:
//   Ints, kPackedRows                       32-bit integers in a register; rows of the tile
//   kOffsetCodes                            activations are stored as code + kLargestCode, else as
//   code kScalesEachStep                         8-bit codes go through add_scaled_dot4
//   zero_ints(), load_ints(p), store_ints(p, v), ints_to_float(v)
//   negated_times_largest_code(v)           if kOffsetCodes
//   broadcast_step(p)                       the same four codes of activations in each lane
//   low_codes(v), high_codes(v)             of bytes that hold two codes + 8 of four bits
//   load_group_scales(p)                    an i8 for each lane
//   dot4(x, w), add_dot4(sum, x, w)         sums of four products a lane, up to a group of them
//   add_scaled(total, sum, scale)           total + such a sum * scale
//   add_scaled_dot4(total, x, w, scale)     if kScalesEachStep
//   load_code_scales(p), scale_codes(codes, scales)   codes times such scales, where both fit a
//   byte:
//                                           if there is multiply_pair (packed_gemm.h)
//   keep(v)                                 sums and loads must not be reordered across it: gcc 12
//                                           would regroup them, and spill the sums to the stack
//   store_steps(p, stride, v)               rounded to codes, four a step, |v| <= kLargestCode or
//   NaN
// No load or store asks for alignment: a tensor in a file may start at any byte.
//
// Kernels are templates over V, instantiated in kernels_<isa>.cpp alone, the one file compiled with
// that instruction set's flags. Such code must not instantiate std:: templates or call inline
// functions that do not name V: the linker could pick that copy for the whole program, and crash
// on older processors.
#pragma once

#include <cstddef>
#include <cstdint>

#define ERNIE_IMAGE_SIMD [[gnu::always_inline]] static inline

namespace ernie_image {

/// Magnitude of a code of activations, for which pairs of weights have room (core/packed_weight.h).
constexpr int kLargestCode = 118;

/// Elements as memory holds them.
struct Bf16 {
  std::uint16_t bits;
};
struct F16 {
  std::uint16_t bits;
};

}  // namespace ernie_image
