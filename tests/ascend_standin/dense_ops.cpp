#include "operation.h"

using namespace standin;

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
