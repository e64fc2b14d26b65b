// The products of bf16 with bf16 for AVX-512 with BF16; all else is as with VNNI, which every
// processor with BF16 has. Nothing else may be compiled with this file's flags.
#include "backend/cpu/gemm.inc.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd_avx512_bf16.h"

namespace ernie_image {

const KernelTable& avx512_bf16_kernels() {
  static const KernelTable table = [] {
    KernelTable kernels = avx512_vnni_kernels();
    kernels.name = "avx512_bf16";
    kernels.gemm.multiply_tile_of_pairs =
        Tile<Avx512Bf16, Avx512::kTileRows, Avx512::kTileVectors>::multiply;
    return kernels;
  }();
  return table;
}

}  // namespace ernie_image
