// Convolution on the CPU as an implicit matrix product: rows are pixels, columns output channels,
// and the depth runs over (ky, kx, input channel).
#pragma once

#include "backend/cpu/gemm.h"
#include "backend/cpu/memory_pool.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "core/weight.h"

namespace ernie_image::cpu {

/// A weight [C_out, C_in, kh, kw] as the convolution reads it: [C_out, kh * kw * C_in], in the
/// file's format (f32, f16 or bf16).
Tensor reorder_conv2d_weight(const Weight& weight);

/// Stride 1, zero padding that keeps the size. x: [B, H, W, C_in]; weight: reordered, `kernel` is 1
/// or 3; bias f32 [C_out]; y: [B, H, W, C_out], allocated by the caller.
void conv2d(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& kernels, const Tensor& x,
            const Tensor& weight, int kernel, const float* bias, Tensor& y);

}  // namespace ernie_image::cpu
