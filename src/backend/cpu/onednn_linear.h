// Matrix products of many rows by oneDNN, for processors whose matrix units our own kernels do not
// use.
#pragma once

#include <span>

#include "backend/cpu/linear.h"

namespace ernie_image {

struct KernelTable;

namespace cpu {

/// As `linear`, for weights in f32, f16 or bf16. Where the processor multiplies bf16 natively, only
/// bf16 by bf16 is oneDNN's; elsewhere weights are widened block by block. oneDNN brings OpenMP
/// threads of its own, as many as the pool has; the pool waits meanwhile.
void onednn_linear(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& kernels,
                   const Tensor& x, std::span<const LinearLayer> layers);

/// Whether oneDNN finds AMX with bf16 in this processor.
bool onednn_has_amx();

}  // namespace cpu
}  // namespace ernie_image
