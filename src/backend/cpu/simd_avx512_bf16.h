// Vector policy for AVX-512 with BF16, for tile products alone: a lane holds two consecutive bf16
// of a row, and a multiply-add adds both their products in f32 (see simd.h).
#pragma once

#include "backend/cpu/simd_avx512.h"

namespace ernie_image {

struct Avx512Bf16 : Avx512 {
  ERNIE_IMAGE_SIMD Vec fma(Vec a, Vec b, Vec c) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
};

}  // namespace ernie_image
