// Vector policy for AVX-512 with VNNI: its sums of four products have 32 bits (see simd.h). For the
// quantised products alone.
#pragma once

#include "backend/cpu/simd_avx512.h"

namespace ernie_image {

struct Avx512Vnni : Avx512 {
  static constexpr bool kScalesEachStep = false;

  ERNIE_IMAGE_SIMD Ints load_group_scales(const std::byte* scales) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales)));
  }
  ERNIE_IMAGE_SIMD Ints dot4(Ints x, Ints w) { return add_dot4(zero_ints(), x, w); }
  ERNIE_IMAGE_SIMD Ints add_dot4(Ints sum, Ints x, Ints w) {
    return _mm512_dpbusd_epi32(sum, x, w);
  }
  ERNIE_IMAGE_SIMD Ints load_code_scales(const std::byte* scales) {
    return Avx512::load_group_scales(scales);
  }
  ERNIE_IMAGE_SIMD Ints scale_codes(Ints codes, Ints scale) {
    const Ints upper = _mm512_set1_epi16(static_cast<short>(0xff00));
    const Ints odd = _mm512_mullo_epi16(_mm512_and_si512(codes, upper), scale);
    return _mm512_or_si512(odd, _mm512_andnot_si512(upper, _mm512_mullo_epi16(codes, scale)));
  }
  ERNIE_IMAGE_SIMD Ints add_scaled(Ints total, Ints sum, Ints scale) {
    return _mm512_add_epi32(total, _mm512_mullo_epi32(sum, scale));
  }
};

}  // namespace ernie_image
