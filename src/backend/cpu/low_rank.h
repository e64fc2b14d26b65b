// Terms of low rank, x down^T up^T, made ready for the kernels that store the results of linear
// layers: what passes through memory once more is the narrow middle alone.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend/cpu/gemm.h"
#include "backend/cpu/memory_pool.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "core/weight.h"

namespace ernie_image::cpu {

struct LowRankFactors {
  const Weight* down;  ///< [R, K], plain
  const Weight* up;    ///< [N, R], plain
};

/// Of layers that read the same x [..., K], f32 or bf16: its products with all `down` are made in
/// one pass over it.
class LowRankTerms {
 public:
  LowRankTerms(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& kernels, const Tensor& x,
               std::span<const LowRankFactors> factors);

  /// `count` of them from `begin` on, in the order in which they were given; valid while this is.
  std::span<const AddedTerm> terms(std::size_t begin, std::size_t count) const {
    return terms_.empty() ? std::span<const AddedTerm>() : std::span(terms_).subspan(begin, count);
  }

 private:
  std::shared_ptr<float> narrow_;            // [M][ranks of all]
  std::vector<std::shared_ptr<float>> ups_;  // [R][N], rows padded
  std::vector<AddedTerm> terms_;
};

}  // namespace ernie_image::cpu
