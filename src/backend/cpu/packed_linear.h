// y = x W^T (+ bias) on the CPU, with W quantised as core/packed_weight.h describes.
#pragma once

#include <span>

#include "backend/cpu/gemm.h"
#include "backend/cpu/memory_pool.h"
#include "backend/cpu/packed_gemm.h"
#include "core/packed_weight.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace ernie_image::cpu {

struct PackedLayer {
  PackedLayout layout;
  const std::byte* data;                  ///< layout.size_bytes()
  const float* bias;                      ///< [N], or null
  Tensor y;                               ///< [..., N], f32 or bf16, allocated by the caller
  std::span<const AddedTerm> terms = {};  ///< of rows of y
};

/// All layers read the same x [..., K], f32 or bf16, which is quantised once. How many rows there
/// are, and how many threads, does not show in a row's result.
void packed_linear(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& gemm,
                   const PackedKernels& kernels, const Tensor& x,
                   std::span<const PackedLayer> layers);

}  // namespace ernie_image::cpu
