// Weights as the CPU backend keeps them.
#pragma once

#include "backend/backend.h"
#include "backend/cpu/gemm.h"
#include "core/thread_pool.h"

namespace ernie_image {

class CpuWeight : public PreparedWeight {
 public:
  const Shape& shape() const override { return source.shape; }

  WeightUse use = WeightUse::linear;
  /// What the file holds, and where all but vectors are read from; a quantised weight reads from
  /// `converted` instead.
  Weight source;
  /// vector: f32 [n]; quantised: int8 [N, K]. Else empty.
  Tensor converted;
  Tensor scale;  ///< f32 [N] of a quantised weight, else empty
};

/// Throws Error(unsupported) for a dtype other than f32, f16 and bf16.
WeightHandle prepare_cpu_weight(const Weight& weight, WeightUse use);

/// A linear weight compressed to int8 with a scale for each row; the same errors.
WeightHandle quantize_cpu_weight(ThreadPool& pool, const GemmKernels& kernels,
                                 const Weight& weight);

/// The handle as this backend made it; it must have data and be prepared for `use`.
const CpuWeight& as_cpu_weight(const PreparedWeight& weight, WeightUse use);

}  // namespace ernie_image
