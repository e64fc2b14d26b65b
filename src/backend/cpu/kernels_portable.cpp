// The kernels for any processor; nothing else may be compiled with this file's flags.
#include "backend/cpu/kernels.inc.h"
#include "backend/cpu/simd_portable.h"

namespace ernie_image {

const KernelTable& portable_kernels() {
  static const KernelTable table = make_kernel_table<Portable>("portable");
  return table;
}

}  // namespace ernie_image
