// The quantised products for AVX-512 with VNNI; all else is as with AVX-512. Nothing else may be
// compiled with this file's flags.
#include "backend/cpu/encoded_gemm.inc.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/packed_gemm.inc.h"
#include "backend/cpu/simd_avx512_vnni.h"

namespace ernie_image {

const KernelTable& avx512_vnni_kernels() {
  static const KernelTable table = [] {
    KernelTable kernels = avx512_kernels();
    kernels.name = "avx512_vnni";
    kernels.packed = make_packed_kernels<Avx512Vnni>();
    kernels.encoded = make_encoded_kernels<Avx512Vnni>();
    return kernels;
  }();
  return table;
}

}  // namespace ernie_image
