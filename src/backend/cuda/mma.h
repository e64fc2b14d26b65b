// The tensor core instructions of sm_80 that attention uses, in terms of what each lane holds. On
// the host (tests) a warp of threads computes the same by the documented layouts.
#pragma once

#include <cstdint>

#include "backend/cuda/kernel.h"

namespace ernie_image::cuda {

/// d += a b of bf16, 16 x 8 x 16. With g = lane / 4 and t = lane % 4, a register holding two
/// neighbours, the lower one in the lower bits:
///   a[0], a[1]: rows g, g + 8, columns 2t, 2t + 1;  a[2], a[3]: the same rows, columns + 8
///   b[0], b[1]: rows 2t, 2t + 1, then + 8, of column g
///   d[0..1], d[2..3]: rows g, g + 8, columns 2t, 2t + 1
__device__ __forceinline__ void mma_16x8x16(float (&d)[4], const std::uint32_t (&a)[4],
                                            const std::uint32_t (&b)[2]) {
#ifdef __CUDACC__
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  cuda_host::mma_16x8x16(d, a, b);
#endif
}

/// Four 8 x 8 matrices of 16-bit numbers, transposed: lane i gives the address of row i % 8 of
/// matrix i / 8, 16 bytes, and gets of matrix m in r[m] the numbers of rows 2t, 2t + 1, column g.
__device__ __forceinline__ void load_transposed(std::uint32_t (&r)[4], const bf16* row) {
#ifdef __CUDACC__
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
#else
  cuda_host::load_transposed(r, row);
#endif
}

/// Begins to copy 16 bytes to shared memory, or zeros if not `inside`.
__device__ __forceinline__ void copy_async(bf16* target, const bf16* source, bool inside) {
#ifdef __CUDACC__
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(target));
  const int bytes = inside ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(address), "l"(source), "r"(bytes)
               : "memory");
#else
  store<8>(target, inside ? load<8>(source) : Vec<bf16, 8>{});
#endif
}

/// Ends a group of copies.
__device__ __forceinline__ void commit_copies() {
#ifdef __CUDACC__
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/// Waits until at most `groups` groups of this thread are under way.
template <int groups>
__device__ __forceinline__ void wait_copies() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
#endif
}

/// Two floats rounded to neighbours in a register.
__device__ __forceinline__ std::uint32_t pack(float low, float high) {
  return static_cast<std::uint32_t>(from_float<bf16>(low).bits) |
         (static_cast<std::uint32_t>(from_float<bf16>(high).bits) << 16);
}

/// Two neighbours in memory.
__device__ __forceinline__ std::uint32_t pair_at(const bf16* source) {
  return *reinterpret_cast<const std::uint32_t*>(source);
}

}  // namespace ernie_image::cuda
