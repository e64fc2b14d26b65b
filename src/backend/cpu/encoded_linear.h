// y = x W^T (+ bias) with W in the blocks of another program's file and x rounded to few bits.
#pragma once

#include <span>

#include "backend/cpu/encoded_gemm.h"
#include "backend/cpu/linear.h"

namespace ernie_image::cpu {

/// Whether the kernels take this weight: an encoded one in a format of theirs, whose rows lie whole
/// in memory.
bool takes_blocks(const EncodedKernels& kernels, const Weight& weight);

/// All layers read the same x [..., K], f32 or bf16, which is rounded once, to 8 bits, or to 16
/// where it has at most GemmKernels::kMaxVectors rows; takes_blocks() of each weight.
void encoded_linear(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& gemm,
                    const EncodedKernels& kernels, const Tensor& x,
                    std::span<const LinearLayer> layers);

}  // namespace ernie_image::cpu
