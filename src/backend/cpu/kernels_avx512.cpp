// The kernels for AVX-512 F, BW, DQ and VL; nothing else may be compiled with this file's flags.
#include "backend/cpu/kernels.inc.h"
#include "backend/cpu/simd_avx512.h"

namespace ernie_image {
namespace {

/// One row is bound by memory, and 256-bit loads get more of it: bf16 at 0.92 of a plain read, not
/// 0.82 (Zen 4). More rows are bound by arithmetic.
void multiply_vectors_by_count(const VectorRows& vectors, const WeightRows& weights,
                               std::int64_t depth, float* result, std::int64_t result_stride) {
  if (vectors.count == 1) {
    avx2_kernels().gemm.multiply_vectors(vectors, weights, depth, result, result_stride);
  } else {
    multiply_vectors<Avx512>(vectors, weights, depth, result, result_stride);
  }
}

}  // namespace

const KernelTable& avx512_kernels() {
  static const KernelTable table = [] {
    KernelTable kernels = make_kernel_table<Avx512>("avx512");
    kernels.gemm.multiply_vectors = multiply_vectors_by_count;
    return kernels;
  }();
  return table;
}

}  // namespace ernie_image
