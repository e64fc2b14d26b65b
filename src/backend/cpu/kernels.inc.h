// Fills a KernelTable with the kernels of one vector policy.
#pragma once

#include "backend/cpu/attention.inc.h"
#include "backend/cpu/convolution.inc.h"
#include "backend/cpu/elementwise.inc.h"
#include "backend/cpu/gemm.inc.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/norm.inc.h"
#include "backend/cpu/packed_gemm.inc.h"

namespace ernie_image {

template <class V>
KernelTable make_kernel_table(const char* name) {
  return {name,
          make_gemm_kernels<V, V::kTileRows, V::kTileVectors>(),
          make_gemm_kernels<V, V::kConvTileRows, V::kConvTileVectors>(),
          make_elementwise_kernels<V>(),
          make_norm_kernels<V>(),
          make_attention_kernels<V>(),
          make_packed_kernels<V>(),
          make_winograd_kernels<V>()};
}

}  // namespace ernie_image
