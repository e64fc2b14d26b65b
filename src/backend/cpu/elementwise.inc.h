// The element-wise kernels as templates over a vector policy V (see simd.h for the rules).
#pragma once

#include "backend/cpu/elementwise.h"
#include "backend/cpu/elementwise_math.inc.h"
#include "backend/cpu/simd.h"

namespace ernie_image {

/// `v` as an activation of type T would hold it.
template <class V, class T>
ERNIE_IMAGE_SIMD typename V::Vec round_to(typename V::Vec v) {
  if constexpr (sizeof(T) == sizeof(Bf16)) {
    return V::round_to_bf16(v);
  } else {
    return v;
  }
}

/// y[i] = function(in[i]...) for n elements, one vector at a time; the last one may be partial,
/// with zeros in the lanes beyond.
template <class V, class Function, class T, class... In>
ERNIE_IMAGE_SIMD void map_elements(Function function, std::int64_t n, T* y, const In*... in) {
  std::int64_t i = 0;
  for (; i + V::kWidth <= n; i += V::kWidth) V::store(y + i, function(V::load(in + i)...));
  if (const int rest = static_cast<int>(n - i); rest > 0) {
    V::store_partial(y + i, function(V::load_partial(in + i, rest)...), rest);
  }
}

/// The kernels for activations of type T. `flatten` inlines the function objects everywhere.
template <class V, class T>
struct ElementwiseOps {
  using Vec = typename V::Vec;

  [[gnu::flatten]] static void add(const void* a, const void* b, void* y, std::int64_t n) {
    map_elements<V>([](Vec u, Vec v) { return V::add(u, v); }, n, out(y), in(a), in(b));
  }

  [[gnu::flatten]] static void multiply(const void* a, const void* b, void* y, std::int64_t n) {
    map_elements<V>([](Vec u, Vec v) { return V::mul(u, v); }, n, out(y), in(a), in(b));
  }

  [[gnu::flatten]] static void gelu_mul(const void* gate, const void* up, void* y, std::int64_t n) {
    map_elements<V>([](Vec g, Vec u) { return V::mul(round_to<V, T>(ernie_image::gelu<V>(g)), u); },
                    n, out(y), in(gate), in(up));
  }

  [[gnu::flatten]] static void silu_mul(const void* gate, const void* up, void* y, std::int64_t n) {
    map_elements<V>([](Vec g, Vec u) { return V::mul(round_to<V, T>(ernie_image::silu<V>(g)), u); },
                    n, out(y), in(gate), in(up));
  }

  [[gnu::flatten]] static void gelu(const void* x, void* y, std::int64_t n) {
    map_elements<V>([](Vec v) { return ernie_image::gelu<V>(v); }, n, out(y), in(x));
  }

  [[gnu::flatten]] static void silu(const void* x, void* y, std::int64_t n) {
    map_elements<V>([](Vec v) { return ernie_image::silu<V>(v); }, n, out(y), in(x));
  }

  [[gnu::flatten]] static void gated_add(const void* x, const void* gate, const void* branch,
                                         void* y, std::int64_t n) {
    map_elements<V>([](Vec v, Vec g, Vec b) { return V::add(v, round_to<V, T>(V::mul(g, b))); }, n,
                    out(y), in(x), in(gate), in(branch));
  }

  template <class From>
  [[gnu::flatten]] static void convert(const void* x, void* y, std::int64_t n) {
    map_elements<V>([](Vec v) { return v; }, n, out(y), static_cast<const From*>(x));
  }

  [[gnu::flatten]] static void gelu_tanh_mul(const void* gate, const void* up, void* y,
                                             std::int64_t n) {
    map_elements<V>(
        [](Vec g, Vec u) { return V::mul(round_to<V, T>(ernie_image::gelu_tanh<V>(g)), u); }, n,
        out(y), in(gate), in(up));
  }

  [[gnu::flatten]] static void gelu_tanh(const void* x, void* y, std::int64_t n) {
    map_elements<V>([](Vec v) { return ernie_image::gelu_tanh<V>(v); }, n, out(y), in(x));
  }

  static ElementwiseKernels::Table table() {
    return {add,       multiply, gelu_mul,  silu_mul,       gelu,          gelu_tanh_mul,
            gelu_tanh, silu,     gated_add, convert<float>, convert<Bf16>, convert<F16>};
  }

 private:
  ERNIE_IMAGE_SIMD const T* in(const void* p) { return static_cast<const T*>(p); }
  ERNIE_IMAGE_SIMD T* out(void* p) { return static_cast<T*>(p); }
};

template <class V>
ElementwiseKernels make_elementwise_kernels() {
  return {ElementwiseOps<V, float>::table(), ElementwiseOps<V, Bf16>::table()};
}

}  // namespace ernie_image
