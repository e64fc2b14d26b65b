// exp, silu and gelu over a vector policy V (see simd.h). The polynomials are least-squares fits
// reweighted towards equal ripple; their error is the relative one over the whole range.
#pragma once

#include "backend/cpu/simd.h"

namespace ernie_image {

/// sum of coefficients[i] * x^i. Two chains of multiply-adds: these functions are bound by how many
/// elements the processor can have under way at once, and so by the length of the chain.
template <class V, int n>
ERNIE_IMAGE_SIMD typename V::Vec polynomial(typename V::Vec x, const float (&coefficients)[n]) {
  static_assert(n >= 4);
  const typename V::Vec square = V::mul(x, x);
  typename V::Vec sums[2];  // of the even and of the odd powers
  sums[n % 2] = V::broadcast(coefficients[n - 2]);
  sums[1 - n % 2] = V::broadcast(coefficients[n - 1]);
#pragma GCC unroll 16
  for (int i = n - 3; i >= 0; --i) {
    sums[i % 2] = V::fma(sums[i % 2], square, V::broadcast(coefficients[i]));
  }
  return V::fma(sums[1], x, sums[0]);
}

/// 2^fraction for |fraction| <= 1/2, exact at 0: relative error below 2e-9 before rounding.
template <class V>
ERNIE_IMAGE_SIMD typename V::Vec exp2_fraction(typename V::Vec fraction) {
  static constexpr float kExp2[] = {1.0f,
                                    6.931472029e-1f,
                                    2.402264791e-1f,
                                    5.550332461e-2f,
                                    9.618437356e-3f,
                                    1.339887836e-3f,
                                    1.535337097e-4f};
  return polynomial<V>(fraction, kExp2);
}

/// 2^x for x <= 127: relative error below 1.6e-7. Below -126 it stays at 2^-126; a NaN stays.
template <class V>
ERNIE_IMAGE_SIMD typename V::Vec exp2_bounded(typename V::Vec x) {
  x = V::max(V::broadcast(-126.0f), x);
  const typename V::Vec n = V::round(x);
  return V::scale_by_power_of_two(exp2_fraction<V>(V::sub(x, n)), n);
}

/// e^x: relative error below 2e-7 on [-87.3, 88]; constant beyond, so never 0 and never infinite.
/// x - n ln 2 is formed with ln 2 in two parts (Cody and Waite), or the error would grow with |x|.
template <class V>
ERNIE_IMAGE_SIMD typename V::Vec exp(typename V::Vec x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0x1.62e4p-1f;  // 15 bits: n * kLn2High is exact
  constexpr float kLn2Low = 1.42860682e-6f;
  x = V::min(V::broadcast(88.0f), V::max(V::broadcast(-87.3f), x));
  const typename V::Vec n = V::round(V::mul(x, V::broadcast(kLog2E)));
  typename V::Vec rest = V::fma(n, V::broadcast(-kLn2High), x);
  rest = V::fma(n, V::broadcast(-kLn2Low), rest);
  return V::scale_by_power_of_two(exp2_fraction<V>(V::mul(rest, V::broadcast(kLog2E))), n);
}

/// x / (1 + e^-x)
template <class V>
ERNIE_IMAGE_SIMD typename V::Vec silu(typename V::Vec x) {
  return V::div(x, V::add(V::broadcast(1.0f), exp<V>(V::neg(x))));
}

/// x/2 (1 + tanh z) = x / (1 + e^-2z), z = sqrt(2 / pi) (x + 0.044715 x^3)
template <class V>
ERNIE_IMAGE_SIMD typename V::Vec gelu_tanh(typename V::Vec x) {
  constexpr float kLinear = -1.5957691216f;  // -2 sqrt(2 / pi)
  constexpr float kCubic = -1.5957691216f * 0.044715f;
  const typename V::Vec slope = V::fma(V::mul(x, x), V::broadcast(kCubic), V::broadcast(kLinear));
  return V::div(x, V::add(V::broadcast(1.0f), exp<V>(V::mul(x, slope))));
}

/// x Phi(x), Phi the normal distribution: absolute error below 5e-7, and relative error below 2e-6
/// in the negative tail, where 1 + erf(x / sqrt 2) would cancel. With u = |x|,
///   gelu(x) = max(x, 0) - u Phi(-u),   Phi(-u) = e^(-u^2 / 2) P(t),   t = 1 / (1 + 0.35 u):
/// the form of Hastings' erf (Abramowitz and Stegun 7.1.26) with a P of degree 9 fitted anew, to a
/// relative error below 4e-8 for u in [0, 14].
template <class V>
ERNIE_IMAGE_SIMD typename V::Vec gelu(typename V::Vec x) {
  static constexpr float kTail[] = {0.0f,
                                    1.396214048e-1f,
                                    1.398618598e-1f,
                                    1.198329530e-1f,
                                    1.055075986e-1f,
                                    -2.310868563e-2f,
                                    1.591721728e-1f,
                                    -2.557122062e-1f,
                                    1.439705451e-1f,
                                    -2.914565809e-2f};
  const typename V::Vec one = V::broadcast(1.0f);
  const typename V::Vec half = V::broadcast(0.5f);
  const typename V::Vec magnitude = V::abs(x);
  const typename V::Vec u = V::min(V::broadcast(14.0f), magnitude);
  const typename V::Vec t = V::div(one, V::fma(V::broadcast(0.35f), u, one));
  const typename V::Vec gauss = exp<V>(V::mul(V::mul(u, u), V::broadcast(-0.5f)));
  const typename V::Vec tail = V::mul(gauss, polynomial<V>(t, kTail));  // Phi(-u)
  const typename V::Vec positive = V::fma(half, magnitude, V::mul(half, x));
  return V::sub(positive, V::mul(u, tail));
}

}  // namespace ernie_image
