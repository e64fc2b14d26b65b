// The norm kernels as templates over a vector policy V (see simd.h for the rules).
#pragma once

#include "backend/cpu/elementwise.inc.h"
#include "backend/cpu/norm.h"

namespace ernie_image {

/// Sum of term(x[i]) over n elements. Sixteen or more running sums keep the rounding error of a row
/// of a few thousand elements near 1e-7 of the sum of magnitudes.
template <class V, class Term, class T>
ERNIE_IMAGE_SIMD float sum_elements(Term term, std::int64_t n, const T* x) {
  constexpr int kSums = 4;
  typename V::Vec sums[kSums] = {V::zero(), V::zero(), V::zero(), V::zero()};
  std::int64_t i = 0;
  for (; i + kSums * V::kWidth <= n; i += kSums * V::kWidth) {
#pragma GCC unroll 4
    for (int j = 0; j < kSums; ++j) {
      sums[j] = V::add(sums[j], term(V::load(x + i + j * V::kWidth)));
    }
  }
  for (; i + V::kWidth <= n; i += V::kWidth) sums[0] = V::add(sums[0], term(V::load(x + i)));
  if (const int rest = static_cast<int>(n - i); rest > 0) {
    float lanes[V::kWidth];
    V::store(lanes, term(V::load_partial(x + i, rest)));
    sums[1] = V::add(sums[1], V::load_partial(lanes, rest));
  }
  return V::reduce_add(V::add(V::add(sums[0], sums[1]), V::add(sums[2], sums[3])));
}

/// The kernels for activations of type T.
template <class V, class T>
struct NormOps {
  using Vec = typename V::Vec;

  [[gnu::flatten]] static void rms_norm(const void* x, const float* weight, float eps,
                                        NormKernels::Modulation modulation, void* y,
                                        std::int64_t n) {
    const Vec factor = inverse_rms(in(x), eps, n);
    const auto norm = [=](Vec v, Vec w) { return V::mul(round_to<V, T>(V::mul(v, factor)), w); };
    if (modulation.scale == nullptr) {
      map_elements<V>(norm, n, out(y), in(x), weight);
      return;
    }
    const Vec one = V::broadcast(1.0f);
    map_elements<V>(
        [=](Vec v, Vec w, Vec scale, Vec shift) {
          return V::fma(round_to<V, T>(norm(v, w)), V::add(one, scale), shift);
        },
        n, out(y), in(x), weight, in(modulation.scale), in(modulation.shift));
  }

  [[gnu::flatten]] static void layer_norm_modulate(const void* x, float eps,
                                                   NormKernels::Modulation modulation, void* y,
                                                   std::int64_t n) {
    const float count = static_cast<float>(n);
    const Vec mean = V::broadcast(sum_elements<V>([](Vec v) { return v; }, n, in(x)) / count);
    const auto square = [=](Vec v) { return V::mul(V::sub(v, mean), V::sub(v, mean)); };
    const Vec factor = inverse_root(sum_elements<V>(square, n, in(x)) / count + eps);
    const Vec one = V::broadcast(1.0f);
    map_elements<V>(
        [=](Vec v, Vec scale, Vec shift) {
          const Vec norm = round_to<V, T>(V::mul(V::sub(v, mean), factor));
          const Vec gain = round_to<V, T>(V::add(one, scale));
          return V::add(round_to<V, T>(V::mul(norm, gain)), shift);
        },
        n, out(y), in(x), in(modulation.scale), in(modulation.shift));
  }

  [[gnu::flatten]] static void norm_rope(const void* x, const float* weight, float eps,
                                         NormKernels::Rotation rotation, void* y, std::int64_t n) {
    const T* source = in(x);
    if (weight != nullptr) {
      const Vec factor = inverse_rms(source, eps, n);
      map_elements<V>([=](Vec v, Vec w) { return V::mul(V::mul(v, factor), w); }, n, out(y), source,
                      weight);
      source = out(y);
    }
    if (rotation.cos != nullptr) {
      rotate(source, rotation, out(y), n / 2);
    } else if (weight == nullptr) {
      map_elements<V>([](Vec v) { return v; }, n, out(y), source);
    }
  }

  [[gnu::flatten]] static void channel_sums(const void* x, std::int64_t pixels,
                                            std::int64_t channels, const float* centre,
                                            float* sums) {
    add_pixels([](Vec sum, Vec distance) { return V::add(sum, distance); }, in(x), pixels, channels,
               centre, sums);
  }

  [[gnu::flatten]] static void channel_squares(const void* x, std::int64_t pixels,
                                               std::int64_t channels, const float* centre,
                                               float* sums) {
    add_pixels([](Vec sum, Vec distance) { return V::fma(distance, distance, sum); }, in(x), pixels,
               channels, centre, sums);
  }

  [[gnu::flatten]] static void channel_affine(const void* x, std::int64_t pixels,
                                              std::int64_t channels,
                                              NormKernels::ChannelAffine affine, void* y) {
    const auto norm = [](Vec v, Vec mean, Vec factor, Vec bias) {
      return V::fma(V::sub(v, mean), factor, bias);
    };
    const auto norm_silu = [=](Vec v, Vec mean, Vec factor, Vec bias) {
      return silu<V>(round_to<V, T>(norm(v, mean, factor, bias)));
    };
    const T* from = in(x);
    T* to = out(y);
    for (std::int64_t p = 0; p < pixels; ++p, from += channels, to += channels) {
      if (affine.activation == Activation::silu) {
        map_elements<V>(norm_silu, channels, to, from, affine.mean, affine.factor, affine.bias);
      } else {
        map_elements<V>(norm, channels, to, from, affine.mean, affine.factor, affine.bias);
      }
    }
  }

  static NormKernels::Table table() {
    return {rms_norm,     layer_norm_modulate, norm_rope,
            channel_sums, channel_squares,     channel_affine};
  }

 private:
  ERNIE_IMAGE_SIMD const T* in(const void* p) { return static_cast<const T*>(p); }
  ERNIE_IMAGE_SIMD T* out(void* p) { return static_cast<T*>(p); }

  ERNIE_IMAGE_SIMD Vec inverse_root(float x) {
    return V::div(V::broadcast(1.0f), V::sqrt(V::broadcast(x)));
  }

  ERNIE_IMAGE_SIMD Vec inverse_rms(const T* x, float eps, std::int64_t n) {
    const float squares = sum_elements<V>([](Vec v) { return V::mul(v, v); }, n, x);
    return inverse_root(squares / static_cast<float>(n) + eps);
  }

  /// sums[c] = step(sums[c], x[pixel][c] - centre[c]) for one pixel after another, from 0.
  template <class Step>
  ERNIE_IMAGE_SIMD void add_pixels(Step step, const T* x, std::int64_t pixels,
                                   std::int64_t channels, const float* centre, float* sums) {
    map_elements<V>([] { return V::zero(); }, channels, sums);
    for (std::int64_t p = 0; p < pixels; ++p, x += channels) {
      map_elements<V>([step](Vec sum, Vec v, Vec middle) { return step(sum, V::sub(v, middle)); },
                      channels, sums, sums, x, centre);
    }
  }

  /// The two halves of a head vector; y may be x.
  ERNIE_IMAGE_SIMD void rotate(const T* x, NormKernels::Rotation rotation, T* y,
                               std::int64_t half) {
    std::int64_t i = 0;
    for (; i + V::kWidth <= half; i += V::kWidth) {
      rotate_lanes(x + i, rotation, i, y + i, half, V::kWidth);
    }
    if (i < half) rotate_lanes(x + i, rotation, i, y + i, half, static_cast<int>(half - i));
  }

  ERNIE_IMAGE_SIMD void rotate_lanes(const T* x, NormKernels::Rotation rotation, std::int64_t i,
                                     T* y, std::int64_t half, int lanes) {
    const float* cos = rotation.cos + i;
    const float* sin = rotation.sin + i;
    const Vec a = load_lanes(x, lanes);
    const Vec b = load_lanes(x + half, lanes);
    Vec first = V::sub(product(a, cos, lanes), product(b, sin, lanes));
    Vec second = V::add(product(b, cos + half, lanes), product(a, sin + half, lanes));
    if (rotation.row_scale != nullptr) {
      const Vec scale = V::broadcast(*rotation.row_scale);
      first = V::mul(round_to<V, T>(first), scale);
      second = V::mul(round_to<V, T>(second), scale);
    }
    store_lanes(y, first, lanes);
    store_lanes(y + half, second, lanes);
  }

  ERNIE_IMAGE_SIMD Vec product(Vec v, const float* table, int lanes) {
    return round_to<V, T>(V::mul(v, load_lanes(table, lanes)));
  }

  template <class From>
  ERNIE_IMAGE_SIMD Vec load_lanes(const From* p, int lanes) {
    return lanes == V::kWidth ? V::load(p) : V::load_partial(p, lanes);
  }

  ERNIE_IMAGE_SIMD void store_lanes(T* p, Vec v, int lanes) {
    if (lanes == V::kWidth) {
      V::store(p, v);
    } else {
      V::store_partial(p, v, lanes);
    }
  }
};

template <class V>
NormKernels make_norm_kernels() {
  return {NormOps<V, float>::table(), NormOps<V, Bf16>::table()};
}

}  // namespace ernie_image
