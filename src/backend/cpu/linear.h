// y = x W^T (+ bias) on the CPU, with W read as its file holds it.
#pragma once

#include <span>

#include "backend/cpu/gemm.h"
#include "backend/cpu/memory_pool.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "core/weight.h"

namespace ernie_image::cpu {

/// Weight [N, K]: f32, f16 or bf16 at any alignment, or encoded, which is decoded a block at a time
/// into what the kernels read.
struct LinearLayer {
  const Weight* weight;
  const float* bias;                      ///< [N], or null
  Tensor y;                               ///< [..., N], f32 or bf16, allocated by the caller
  std::span<const AddedTerm> terms = {};  ///< of rows of y
};

/// Whether x and every layer's weight are bf16, which some processors multiply as they are.
bool are_all_bf16(const Tensor& x, std::span<const LinearLayer> layers);

/// All layers read the same x [..., K], f32 or bf16, which is packed once.
void linear(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& kernels, const Tensor& x,
            std::span<const LinearLayer> layers);

}  // namespace ernie_image::cpu
