// The kernels for AArch64 NEON; nothing else may be compiled with this file's flags.
#include "backend/cpu/kernels.inc.h"
#include "backend/cpu/simd_neon.h"

namespace ernie_image {

const KernelTable& neon_kernels() {
  static const KernelTable table = make_kernel_table<Neon>("neon");
  return table;
}

}  // namespace ernie_image
