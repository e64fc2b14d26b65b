// The kernels for AVX2, FMA and F16C; nothing else may be compiled with this file's flags.
#include "backend/cpu/kernels.inc.h"
#include "backend/cpu/simd_avx2.h"

namespace ernie_image {

const KernelTable& avx2_kernels() {
  static const KernelTable table = make_kernel_table<Avx2>("avx2");
  return table;
}

}  // namespace ernie_image
