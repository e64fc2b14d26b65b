// The quantised products for AArch64 NEON with dot products; all else is as with NEON. Nothing else
// may be compiled with this file's flags.
#include "backend/cpu/kernels.h"
#include "backend/cpu/packed_gemm.inc.h"
#include "backend/cpu/simd_neon_dotprod.h"

namespace ernie_image {

const KernelTable& neon_dotprod_kernels() {
  static const KernelTable table = [] {
    KernelTable kernels = neon_kernels();
    kernels.name = "neon_dotprod";
    kernels.packed = make_packed_kernels<NeonDotprod>();
    return kernels;
  }();
  return table;
}

}  // namespace ernie_image
