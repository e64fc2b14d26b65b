#include <algorithm>

#include "operation.h"

using namespace standin;

namespace standin {

// Goldens of full-width layers are tens of GFLOP. Not under sanitizers, whose start-up is too early
// for functions that are chosen by the processor.
#if defined(__x86_64__) && defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
__attribute__((target_clones("default", "avx2,fma")))
#endif
void multiply_transposed(const float* a, const float* b, float* y, std::int64_t rows,
                         std::int64_t depth, std::int64_t columns) {
  constexpr int kLanes = 16;
  constexpr int kRows = 4;  // of `a` for one pass over a row of `b`
  const bool backwards = is_perturbed();
  for (std::int64_t first = 0; first < rows; first += kRows) {
    const std::int64_t count = std::min<std::int64_t>(kRows, rows - first);
    for (std::int64_t n = 0; n < columns; ++n) {
      float sums[kRows][kLanes] = {};
      const float* const weight = b + n * depth;
      std::int64_t k = 0;
      for (; k + kLanes <= depth; k += kLanes) {
        for (std::int64_t m = 0; m < count; ++m) {
          const float* const x = a + (first + m) * depth + k;
          for (int lane = 0; lane < kLanes; ++lane) sums[m][lane] += x[lane] * weight[k + lane];
        }
      }
      for (std::int64_t m = 0; m < count; ++m) {
        float sum = 0;
        for (int lane = 0; lane < kLanes; ++lane)
          sum += sums[m][backwards ? kLanes - 1 - lane : lane];
        for (std::int64_t rest = k; rest < depth; ++rest)
          sum += a[(first + m) * depth + rest] * weight[rest];
        y[(first + m) * columns + n] = sum;
      }
    }
  }
}

}  // namespace standin

namespace {

/// x [(batch,) M, K] times w [(batch,) K, N].
aclnnStatus product(Plan& plan, const aclTensor* x, const aclTensor* w, aclTensor* out,
                    std::int8_t cube_math_type, std::size_t rank, std::uint64_t* workspace_bytes,
                    aclOpExecutor** executor) {
  plan.input(x, "self");
  plan.input(w, "mat2");
  plan.output(out, "out");
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  plan.require(x->dims.size() == rank && w->dims.size() == rank && out->dims.size() == rank,
               "tensors of rank " + std::to_string(rank) + " are needed");
  plan.require(is_float(x->dtype) && x->dtype == w->dtype,
               "self " + text_of(*x) + " and mat2 " + text_of(*w) + " must have one dtype");
  plan.require(x->dtype == out->dtype, "out must have the dtype of self");
  plan.require(cube_math_type >= 0 && cube_math_type <= 3, "no such cubeMathType");
  plan.require(x->dtype != ACL_BF16 || cube_math_type != 2, "cubeMathType 2 is refused for BF16");
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  plan.reads_transposed(*x);
  plan.reads_transposed(*w);
  const std::int64_t batch = rank == 3 ? x->dims[0] : 1;
  const std::int64_t m = x->dims[rank - 2], k = x->dims[rank - 1], n = w->dims[rank - 1];
  plan.require(w->dims[rank - 2] == k && out->dims[rank - 2] == m && out->dims[rank - 1] == n &&
                   (rank == 2 || (w->dims[0] == batch && out->dims[0] == batch)),
               text_of(*x) + " and " + text_of(*w) + " do not make " + text_of(*out));
  return plan.finish(workspace_bytes, executor,
                     [a = *x, b = transposed(*w), target = *out, batch, m, k, n] {
                       const Values left = read(a);
                       const Values right = read(b);
                       Values result(static_cast<std::size_t>(batch * m * n));
                       for (std::int64_t i = 0; i < batch; ++i)
                         multiply_transposed(left.data() + i * m * k, right.data() + i * n * k,
                                             result.data() + i * m * n, m, k, n);
                       write(target, result);
                     });
}

}  // namespace

STANDIN_OPERATION(Mm, const aclTensor* x, const aclTensor* w, aclTensor* out,
                  std::int8_t cube_math_type) {
  Plan plan("aclnnMm");
  return product(plan, x, w, out, cube_math_type, 2, workspace_bytes, executor);
}

STANDIN_OPERATION(BatchMatMul, const aclTensor* x, const aclTensor* w, aclTensor* out,
                  std::int8_t cube_math_type) {
  Plan plan("aclnnBatchMatMul");
  return product(plan, x, w, out, cube_math_type, 3, workspace_bytes, executor);
}
