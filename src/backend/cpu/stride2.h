// 3x3 convolution of stride 2 as a matrix product, whose rows are gathered from the picture
// straight into packed panels. It has a quarter of the sums of a convolution that keeps the size,
// and Winograd's method saves nothing where windows hardly overlap.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/memory_pool.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "core/weight.h"

namespace ernie_image::cpu {

struct Stride2Conv {
  const ImageBand& x;
  const float* weights;  ///< from stride2_weights
  const float* bias;     ///< [C_out]
  Tensor& y;             ///< [B, H / 2, W / 2, C_out]
};

/// The filters of a weight [C_out, C_in, 3, 3] in f32, by tap and then input channel, as right
/// panels: [9 C_in / kBlockDepth][C_out / tile_columns][depth][tile_columns].
std::shared_ptr<float> stride2_weights(ThreadPool& pool, CpuMemoryPool& memory,
                                       const GemmKernels& gemm, const Weight& weight);

void conv2d_stride2(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& gemm,
                    const Stride2Conv& job);

}  // namespace ernie_image::cpu
