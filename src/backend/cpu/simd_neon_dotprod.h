// Vector policy for AArch64 NEON with the dot product instructions (see simd.h). For the quantised
// products alone.
#pragma once

#include "backend/cpu/simd_neon.h"

namespace ernie_image {

struct NeonDotprod : Neon {
  ERNIE_IMAGE_SIMD Ints dot4(Ints x, Ints w) { return add_dot4(zero_ints(), x, w); }
  ERNIE_IMAGE_SIMD Ints add_dot4(Ints sum, Ints x, Ints w) {
    return vdotq_s32(sum, vreinterpretq_s8_s32(x), vreinterpretq_s8_s32(w));
  }
};

}  // namespace ernie_image
