#include "backend/cuda/attention.h"

#include <algorithm>

#include "backend/cuda/operations.h"
#include "ernie_image/error.h"

namespace ernie_image::cuda {
namespace {

/// Bytes of the scores that are held at a time.
constexpr std::int64_t kScoreBytes = std::int64_t{64} << 20;

/// A mask that hides nothing is none: the simplest form is the fastest.
AttentionMask simplified(const AttentionMask& mask, std::int64_t queries, std::int64_t keys) {
  const bool complete =
      (mask.kind == AttentionMask::Kind::key_lengths &&
       std::ranges::all_of(mask.key_lengths, [&](std::int64_t n) { return n == keys; })) ||
      (mask.kind == AttentionMask::Kind::causal && queries == 1);
  return complete ? AttentionMask{} : mask;
}

/// Rows [begin, begin + count) of one head of x [B, S, heads, D].
Matrix head_rows(const Tensor& x, std::int64_t batch, std::int64_t head, std::int64_t begin,
                 std::int64_t count) {
  const std::int64_t heads = x.dim(2), width = x.dim(3);
  const std::int64_t first = ((batch * x.dim(1) + begin) * heads + head) * width;
  return {x.dtype(), x.bytes() + static_cast<std::size_t>(first) * size_of(x.dtype()), count, width,
          heads * width};
}

}  // namespace

Attention::Attention(const Stream& stream, const Products& products, AttentionForm form)
    : stream_(stream), products_(products), form_(form) {
  if (form != AttentionForm::own) library_ = make_library_attention(stream);
}

Tensor Attention::lengths_on_card(const std::vector<std::int64_t>& lengths) {
  const auto found = std::ranges::find_if(
      kept_lengths_, [&](const auto& known) { return known.first == lengths; });
  if (found != kept_lengths_.end()) return found->second;
  Tensor host = Tensor::host(DType::i32, {std::ssize(lengths)});
  for (std::size_t i = 0; i < lengths.size() && !host.is_booked(); ++i)
    host.data<std::int32_t>()[i] = static_cast<std::int32_t>(lengths[i]);
  kept_lengths_.emplace_back(lengths, stream_.upload(host));
  return kept_lengths_.back().second;
}

Tensor Attention::operator()(const Tensor& q, const Tensor& k, const Tensor& v,
                             const AttentionMask& given, float scale) {
  Tensor out = stream_.empty(q.dtype(), {q.dim(0), q.dim(1), q.dim(2) * q.dim(3)});
  if (out.size() == 0) return out;
  stream_.begin_call();
  const AttentionMask mask = simplified(given, q.dim(1), k.dim(1));
  const bool padded = mask.kind == AttentionMask::Kind::key_lengths;
  const Tensor lengths = padded ? lengths_on_card(mask.key_lengths) : Tensor();
  const std::vector<std::int64_t> whole(static_cast<std::size_t>(q.dim(0)), q.dim(1));
  const Tensor query_lengths = padded ? lengths_on_card(whole) : Tensor();
  const bool causal = mask.kind == AttentionMask::Kind::causal;
  const AttentionCall call{q, k, v, out, lengths, query_lengths, causal, scale};
  if (form_ != AttentionForm::cudnn && row_attention_takes(q)) {
    row_attention(stream_, call);
    return out;
  }
  std::string why_not = "cuDNN is not there";
  if (library_ != nullptr && library_->attend(stream_, call, why_not)) return out;
  if (form_ == AttentionForm::cudnn) {
    throw Error(ErrorKind::unsupported, stream_.name() + ": --cuda-attention cudnn: attention of " +
                                            described(q) + " and " + described(k) + ": " + why_not);
  }
  if (fused_attention_takes(q)) {
    fused_attention(stream_, call);
  } else {
    composed(call, mask);
  }
  return out;
}

/// Head by head from matrix products: q k^T, softmax, and the product with v turned.
void Attention::composed(const AttentionCall& call, const AttentionMask& mask) {
  const Tensor& v = call.v;
  const Tensor turned =
      transpose_rows(stream_, v.reshaped({v.dim(0), v.dim(1), v.dim(2) * v.dim(3)}));
  for (std::int64_t batch = 0; batch < v.dim(0); ++batch) {
    const std::int64_t keys = mask.kind == AttentionMask::Kind::key_lengths
                                  ? mask.key_lengths[static_cast<std::size_t>(batch)]
                                  : v.dim(1);
    for (std::int64_t head = 0; head < call.q.dim(2); ++head)
      composed_head(call, turned, batch, head, keys);
  }
}

void Attention::composed_head(const AttentionCall& call, const Tensor& turned_v, std::int64_t batch,
                              std::int64_t head, std::int64_t keys) {
  const std::int64_t queries = call.q.dim(1), heads = call.q.dim(2), width = call.q.dim(3);
  const std::int64_t all_keys = call.k.dim(1), kv_head = head / (heads / call.k.dim(2));
  const DType dtype = call.q.dtype();
  const Matrix k = head_rows(call.k, batch, kv_head, 0, keys);
  const std::int64_t turned_row = (batch * call.k.dim(2) + kv_head) * width;
  const Matrix v{
      dtype, turned_v.bytes() + static_cast<std::size_t>(turned_row * all_keys) * size_of(dtype),
      width, keys, all_keys};
  const std::int64_t stride = (keys + 7) / 8 * 8;  // whole vectors of bf16
  const std::int64_t step = std::max<std::int64_t>(1, kScoreBytes / 4 / keys);
  const Tensor out = call.out.reshaped(call.q.shape());
  for (std::int64_t begin = 0; begin < queries; begin += step) {
    const std::int64_t rows = std::min(step, queries - begin);
    const Tensor scores = stream_.empty(DType::f32, {rows, keys});
    products_.multiply(stream_, head_rows(call.q, batch, head, begin, rows), k, matrix_of(scores));
    const Tensor probabilities = stream_.empty(dtype, {rows, stride});
    softmax_rows(stream_, scores, call.causal ? begin + all_keys - queries : -1, call.scale,
                 probabilities);
    products_.multiply(stream_, {dtype, probabilities.bytes(), rows, keys, stride}, v,
                       head_rows(out, batch, head, begin, rows));
  }
}

}  // namespace ernie_image::cuda
