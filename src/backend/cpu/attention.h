// Attention on the CPU, in blocks that never hold all scores (online softmax): the kernel a vector
// policy provides, and the threaded driver that hands out blocks of queries.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/backend.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace ernie_image {

/// The queries of one batch row that share one key/value head, as rows: row r is position
/// r / group, query head r % group of the group. Pointers are to the first head of the group at
/// position 0, in the activation dtype; strides are in elements, from a position to the next.
struct AttentionTask {
  const void* q;
  const void* k;
  const void* v;
  void* y;
  std::int64_t query_stride;  ///< heads * D, in q and y
  std::int64_t key_stride;    ///< kv_heads * D, in k and v
  std::int64_t head_dim;
  std::int64_t group;      ///< query heads of one key/value head
  std::int64_t row_begin;  ///< the rows to compute
  std::int64_t row_end;
  std::int64_t num_keys;       ///< keys any query may see
  std::int64_t causal_offset;  ///< position p sees keys [0, p + causal_offset]; kNoCausalMask
  float scale;
};

constexpr std::int64_t kNoCausalMask = std::int64_t{1} << 40;

struct AttentionKernels {
  /// Rows of a task at most, a multiple of the rows that are computed together.
  std::int64_t (*rows_per_task)(std::int64_t head_dim);
  std::int64_t row_granularity;
  /// Floats of scratch memory, aligned to 64 bytes, that one task needs.
  std::int64_t (*scratch_floats)(std::int64_t head_dim);
  void (*run_f32)(const AttentionTask& task, float* scratch);
  void (*run_bf16)(const AttentionTask& task, float* scratch);
};

/// Defined in attention.inc.h.
template <class V>
AttentionKernels make_attention_kernels();

namespace cpu {

/// `y`: [B, Sq, heads * D], allocated by the caller.
void attention(ThreadPool& pool, const AttentionKernels& kernels, const Tensor& q, const Tensor& k,
               const Tensor& v, const AttentionMask& mask, float scale, Tensor& y);

}  // namespace cpu
}  // namespace ernie_image
