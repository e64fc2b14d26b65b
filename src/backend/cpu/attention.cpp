// Driver of the attention kernel: cuts the queries into tasks and hands them out.
#include "backend/cpu/attention.h"

#include <algorithm>
#include <cassert>
#include <cstddef>

namespace ernie_image::cpu {
namespace {

struct Problem {
  const Tensor& q;
  const Tensor& k;
  const Tensor& v;
  const AttentionMask& mask;
  float scale;
  Tensor& y;

  std::int64_t kv_heads() const { return k.dim(2); }
  std::int64_t group() const { return q.dim(2) / k.dim(2); }
  std::int64_t rows() const { return q.dim(1) * group(); }

  /// All rows of key/value head `kv_head` in batch row `batch`.
  AttentionTask task(std::int64_t batch, std::int64_t kv_head) const;
};

void check(const Problem& p) {
  assert(p.q.rank() == 4 && p.k.rank() == 4 && p.k.shape() == p.v.shape());
  assert(p.q.dim(0) == p.k.dim(0) && p.q.dim(3) == p.k.dim(3) && p.q.dim(2) % p.k.dim(2) == 0);
  assert(p.q.dtype() == p.k.dtype() && p.q.dtype() == p.v.dtype() && p.q.dtype() == p.y.dtype());
  assert(p.y.size() == p.q.size());
  assert(p.mask.kind != AttentionMask::Kind::causal || p.k.dim(1) >= p.q.dim(1));
  assert(p.mask.kind != AttentionMask::Kind::key_lengths ||
         static_cast<std::int64_t>(p.mask.key_lengths.size()) == p.q.dim(0));
  (void)p;
}

AttentionTask Problem::task(std::int64_t batch, std::int64_t kv_head) const {
  const auto element = static_cast<std::int64_t>(size_of(q.dtype()));
  const std::int64_t head_dim = q.dim(3);
  const std::int64_t query_stride = q.dim(2) * head_dim;
  const std::int64_t key_stride = kv_heads() * head_dim;
  const std::int64_t query = batch * q.dim(1) * query_stride + kv_head * group() * head_dim;
  const std::int64_t key = batch * k.dim(1) * key_stride + kv_head * head_dim;
  std::int64_t num_keys = k.dim(1);
  if (mask.kind == AttentionMask::Kind::key_lengths) {
    num_keys = mask.key_lengths[static_cast<std::size_t>(batch)];
    assert(num_keys >= 1 && num_keys <= k.dim(1));
  }
  const bool causal = mask.kind == AttentionMask::Kind::causal;
  return {.q = q.bytes() + query * element,
          .k = k.bytes() + key * element,
          .v = v.bytes() + key * element,
          .y = y.bytes() + query * element,
          .query_stride = query_stride,
          .key_stride = key_stride,
          .head_dim = head_dim,
          .group = group(),
          .row_begin = 0,
          .row_end = rows(),
          .num_keys = num_keys,
          .causal_offset = causal ? k.dim(1) - q.dim(1) : kNoCausalMask,
          .scale = scale};
}

/// Equal shares of `rows`, in whole panels, small enough to keep every thread busy to the end.
std::int64_t rows_per_task(const AttentionKernels& kernels, std::int64_t rows,
                           std::int64_t head_dim, std::int64_t sequences, int threads) {
  constexpr std::int64_t kTasksPerThread = 8;
  const std::int64_t unit = kernels.row_granularity;
  const std::int64_t largest = kernels.rows_per_task(head_dim);
  const std::int64_t wanted = (kTasksPerThread * threads + sequences - 1) / sequences;
  const std::int64_t parts = std::max((rows + largest - 1) / largest, wanted);
  const std::int64_t share = (rows + parts - 1) / parts;
  return std::min(largest, (share + unit - 1) / unit * unit);
}

}  // namespace

void attention(ThreadPool& pool, const AttentionKernels& kernels, const Tensor& q, const Tensor& k,
               const Tensor& v, const AttentionMask& mask, float scale, Tensor& y) {
  const Problem problem = {q, k, v, mask, scale, y};
  check(problem);
  if (q.size() == 0) return;
  const std::int64_t rows = problem.rows();
  const std::int64_t sequences = q.dim(0) * problem.kv_heads();
  const std::int64_t head_dim = q.dim(3);
  const std::int64_t share = rows_per_task(kernels, rows, head_dim, sequences, pool.num_threads());
  const std::int64_t blocks = (rows + share - 1) / share;
  const std::int64_t floats = (kernels.scratch_floats(head_dim) + 15) / 16 * 16;
  const Tensor scratch = Tensor::host(DType::f32, {pool.num_threads(), floats});
  const auto run = q.dtype() == DType::bf16 ? kernels.run_bf16 : kernels.run_f32;

  pool.parallel_for(sequences * blocks, [&](std::int64_t chunk, int thread) {
    const std::int64_t sequence = chunk / blocks;
    // Last rows first: under a causal mask they take longest.
    const std::int64_t block = blocks - 1 - chunk % blocks;
    AttentionTask task = problem.task(sequence / problem.kv_heads(), sequence % problem.kv_heads());
    task.row_begin = block * share;
    task.row_end = std::min(rows, (block + 1) * share);
    run(task, scratch.data<float>() + thread * floats);
  });
}

}  // namespace ernie_image::cpu
