// Attention out of plain operations, for what no fused kernel takes. Padded keys are left out by
// looking at fewer keys, so that only the causal form needs a mask.
#include <algorithm>
#include <limits>

#include "backend/ascend/attention.h"
#include "backend/ascend/operations.h"

namespace ernie_image::ascend {
namespace {

/// Scores of one pass; at 16 K keys and one head (the VAE at 1024^2) that is 4096 queries.
constexpr std::int64_t kMaxScoreElements = std::int64_t{1} << 26;

/// Query heads that share a key head lie side by side: head kv * group + g. For one g, the heads of
/// all kv are a strided view, and so are the keys; each pass takes one g and some queries.
struct Pass {
  std::int64_t batch;
  std::int64_t member;  ///< g
  std::int64_t first_query;
  std::int64_t queries;
  std::int64_t keys;  ///< the first ones only
};

/// [kv_heads, rows, D] of x [B, S, heads, D], every `group`th head from `member` on.
View heads_view(const Tensor& x, std::int64_t batch, std::int64_t first_row, std::int64_t rows,
                std::int64_t group, std::int64_t member) {
  const std::int64_t heads = x.dim(2), width = x.dim(3);
  const std::int64_t offset = ((batch * x.dim(1) + first_row) * heads + member) * width;
  return View(x).window({heads / group, rows, width}, {group * width, heads * width, 1}, offset);
}

void run_pass(Stream& stream, const Tensor& q, const Tensor& k, const Tensor& v,
              const Tensor& causal, float scale, const Pass& pass, const Tensor& y) {
  const std::int64_t kv_heads = k.dim(2), group = q.dim(2) / kv_heads;
  const View query = heads_view(q, pass.batch, pass.first_query, pass.queries, group, pass.member);
  const View key = heads_view(k, pass.batch, 0, pass.keys, 1, 0);
  const View value = heads_view(v, pass.batch, 0, pass.keys, 1, 0);
  const Shape shape = {kv_heads, pass.queries, pass.keys};
  const Tensor dots = stream.empty(DType::f32, shape);
  stream.call(cann().BatchMatMul, query, key.with_axes_swapped(1, 2), dots, kKeepDType);
  const Tensor scores = stream.empty(DType::f32, shape);
  stream.call(cann().Muls, dots, Scalar{scale}, scores);
  if (!causal.empty()) {
    const std::int64_t row_size = causal.dim(3);
    const View hidden = View(causal).window({1, pass.queries, pass.keys}, {0, row_size, 1},
                                            pass.first_query * row_size);
    stream.call(cann().InplaceMaskedFillScalar, scores, hidden,
                Scalar{-std::numeric_limits<float>::infinity()});
  }
  const std::int64_t last_axis = -1;
  stream.call(cann().Softmax, scores, last_axis, dots);
  const Tensor attended = stream.empty(DType::f32, {kv_heads, pass.queries, k.dim(3)});
  stream.call(cann().BatchMatMul, dots, value, attended, kKeepDType);
  stream.call(cann().InplaceCopy,
              heads_view(y, pass.batch, pass.first_query, pass.queries, group, pass.member),
              attended);
}

}  // namespace

Tensor composed_attention(Stream& stream, const Tensor& q, const Tensor& k, const Tensor& v,
                          const std::vector<std::int64_t>& key_lengths, const Tensor& causal,
                          float scale) {
  const std::int64_t kv_heads = k.dim(2), group = q.dim(2) / kv_heads;
  const std::int64_t rows =
      std::clamp(kMaxScoreElements / (kv_heads * k.dim(1)), std::int64_t{1}, q.dim(1));
  Tensor y = stream.empty(DType::f32, q.shape());
  for (std::int64_t batch = 0; batch < q.dim(0); ++batch) {
    const std::int64_t keys =
        key_lengths.empty() ? k.dim(1) : key_lengths[static_cast<std::size_t>(batch)];
    for (std::int64_t member = 0; member < group; ++member) {
      for (std::int64_t first = 0; first < q.dim(1); first += rows) {
        const std::int64_t count = std::min(rows, q.dim(1) - first);
        run_pass(stream, q, k, v, causal, scale, {batch, member, first, count, keys}, y);
      }
    }
  }
  return y.reshaped({q.dim(0), q.dim(1), q.dim(2) * q.dim(3)});
}

}  // namespace ernie_image::ascend
