// The sets of kernels, one for each instruction set, and the choice between them at start.
#pragma once

#include <span>
#include <string_view>

#include "backend/cpu/attention.h"
#include "backend/cpu/convolution.h"
#include "backend/cpu/elementwise.h"
#include "backend/cpu/encoded_gemm.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/linear.h"
#include "backend/cpu/norm.h"
#include "backend/cpu/packed_gemm.h"

namespace ernie_image {

struct KernelTable {
  const char* name;
  GemmKernels gemm;
  GemmKernels conv_gemm;  ///< of the tiles that Winograd's convolutions are cut into
  ElementwiseKernels elementwise;
  NormKernels norm;
  AttentionKernels attention;
  PackedKernels packed;
  WinogradKernels winograd;
  /// In place of cpu::linear for more rows than GemmKernels::kMaxVectors, or null.
  void (*linear_of_many)(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& kernels,
                         const Tensor& x, std::span<const cpu::LinearLayer> layers) = nullptr;
  /// Without functions where the instruction set has none.
  EncodedKernels encoded = {};
};

/// The tables compiled in and usable on this processor, best first; never empty.
std::span<const KernelTable* const> usable_kernels();

/// "auto" or a table's name. Throws Error(invalid_argument) naming the usable ones.
const KernelTable& choose_kernels(std::string_view name);

// Each defined in kernels_<isa>.cpp, and called only where the processor has the instructions.
const KernelTable& avx512_bf16_kernels();
const KernelTable& avx512_vnni_kernels();
const KernelTable& avx512_kernels();
const KernelTable& avx2_kernels();
const KernelTable& neon_dotprod_kernels();
const KernelTable& neon_kernels();
const KernelTable& portable_kernels();

}  // namespace ernie_image
