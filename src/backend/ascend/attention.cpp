#include "backend/ascend/attention.h"

#include <algorithm>
#include <utility>

#include "backend/ascend/operations.h"

namespace ernie_image::ascend {
namespace {

constexpr std::int64_t kAllTokens = 2147483647;  // no band around the diagonal
constexpr std::size_t kKeptMasks = 4;

/// Nothing hidden is nothing to mask: key lengths that are all there, and a single last query.
AttentionMask simplified(AttentionMask mask, std::int64_t queries, std::int64_t keys) {
  const bool complete =
      (mask.kind == AttentionMask::Kind::key_lengths &&
       std::ranges::all_of(mask.key_lengths, [&](std::int64_t n) { return n == keys; })) ||
      (mask.kind == AttentionMask::Kind::causal && queries == 1);
  return complete ? AttentionMask{} : mask;
}

}  // namespace

DenseMask::DenseMask(Stream& stream, const AttentionMask& mask, std::int64_t batch,
                     std::int64_t queries, std::int64_t keys)
    : mask_(mask) {
  const bool causal = mask.kind == AttentionMask::Kind::causal;
  Tensor host = Tensor::host(DType::boolean, {causal ? 1 : batch, 1, queries, keys});
  for (std::int64_t row = 0; row < host.size() / keys && !host.is_booked(); ++row) {
    const std::int64_t visible = causal ? row + keys - queries + 1
                                        : mask.key_lengths[static_cast<std::size_t>(row / queries)];
    std::fill(host.data<std::uint8_t>() + row * keys + visible,
              host.data<std::uint8_t>() + (row + 1) * keys, std::uint8_t{1});
  }
  tensor_ = stream.upload(host);
}

bool DenseMask::is(const AttentionMask& mask, std::int64_t batch, std::int64_t queries,
                   std::int64_t keys) const {
  const bool causal = mask.kind == AttentionMask::Kind::causal;
  return mask.kind == mask_.kind && mask.key_lengths == mask_.key_lengths &&
         tensor_.shape() == Shape{causal ? 1 : batch, 1, queries, keys};
}

const Tensor& Attention::dense(const AttentionMask& mask, const Tensor& q, const Tensor& k) {
  const auto found = std::ranges::find_if(
      masks_, [&](const DenseMask& known) { return known.is(mask, q.dim(0), q.dim(1), k.dim(1)); });
  if (found != masks_.end()) return found->tensor();
  if (masks_.size() == kKeptMasks) masks_.erase(masks_.begin());
  masks_.emplace_back(stream_, mask, q.dim(0), q.dim(1), k.dim(1));
  return masks_.back().tensor();
}

/// Limits of the operator's host checks: 16-bit types, heads of whole 32-byte units up to 512, at
/// most 256 of them, at most 64 for each of the keys.
bool Attention::fused_inference_takes(const Tensor& q, const Tensor& k) const {
  const bool present = cann().FusedInferAttentionScoreV2 || cann().FusedInferAttentionScoreV3;
  return present && q.dtype() == DType::bf16 && q.dim(3) % 16 == 0 && q.dim(3) <= 512 &&
         q.dim(2) <= 256 && q.dim(2) / k.dim(2) <= 64;
}

/// The training operator, which alone has fp32; it takes no key lengths.
bool Attention::flash_attention_takes(const Tensor& q) const {
  return bool(cann().FlashAttentionScore) && q.dtype() == DType::f32 && q.dim(3) % 16 == 0 &&
         q.dim(3) <= 768 && q.dim(2) <= 256;
}

Tensor Attention::operator()(const Tensor& q, const Tensor& k, const Tensor& v, AttentionMask mask,
                             float scale) {
  mask = simplified(std::move(mask), q.dim(1), k.dim(1));
  if (form_ == AttentionForm::composed) return composed(q, k, v, mask, scale);
  const bool padded = mask.kind == AttentionMask::Kind::key_lengths;
  // A mask for a single query is taken by the kernels, and then read wrongly by some releases.
  const bool mask_is_safe = !padded || q.dim(1) > 1;
  if (fused_inference_takes(q, k) && (form_ != AttentionForm::mask || mask_is_safe))
    return fused_inference(q, k, v, mask, scale);
  const bool lengths_only = padded && form_ == AttentionForm::lengths;
  if (flash_attention_takes(q) && mask_is_safe && !lengths_only)
    return flash_attention(q, k, v, mask, scale);
  return composed(q, k, v, mask, scale);
}

Tensor Attention::fused_inference(const Tensor& q, const Tensor& k, const Tensor& v,
                                  const AttentionMask& mask, float scale) {
  const bool by_lengths =
      mask.kind == AttentionMask::Kind::key_lengths && form_ != AttentionForm::mask;
  const Integers lengths = {by_lengths ? mask.key_lengths : std::vector<std::int64_t>{},
                            by_lengths};
  const bool masked = mask.kind != AttentionMask::Kind::none && !by_lengths;
  const View hidden = masked ? View(dense(mask, q, k)) : View();
  char layout[] = "BSND";
  const std::int64_t heads = q.dim(2), kv_heads = k.dim(2), zero = 0;
  const bool no_lse = false;
  const View none;
  Tensor y = stream_.empty(q.dtype(), q.shape());
  const auto call = [&](const auto& operation, const auto&... rope) {
    stream_.call(operation, q, ViewList{{k}}, ViewList{{v}}, none, hidden, nullptr, lengths, none,
                 none, none, none, none, none, none, none, none, none, none, none, none, none, none,
                 none, nullptr, rope..., heads, double{scale}, kAllTokens, kAllTokens,
                 static_cast<char*>(layout), kv_heads, zero, zero, zero, zero, no_lse, zero, zero,
                 y, nullptr);
  };
  if (cann().FusedInferAttentionScoreV2) {
    call(cann().FusedInferAttentionScoreV2);
  } else {
    call(cann().FusedInferAttentionScoreV3, none, none, none);
  }
  return y.reshaped({q.dim(0), q.dim(1), q.dim(2) * q.dim(3)});
}

Tensor Attention::flash_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                  const AttentionMask& mask, float scale) {
  const View hidden = mask.kind == AttentionMask::Kind::none ? View() : View(dense(mask, q, k));
  const Tensor largest = stream_.empty(DType::f32, {q.dim(0), q.dim(2), q.dim(1), 8});
  const Tensor sum = stream_.empty(DType::f32, {q.dim(0), q.dim(2), q.dim(1), 8});
  const Tensor probabilities = stream_.empty(q.dtype(), {0});
  char layout[] = "BSND";
  const std::int64_t heads = q.dim(2), zero = 0;
  const double keep_all = 1.0;
  const View none;
  Tensor y = stream_.empty(q.dtype(), q.shape());
  stream_.call(cann().FlashAttentionScore, q, k, v, none, none, none, hidden, nullptr,
               double{scale}, keep_all, kAllTokens, kAllTokens, heads, static_cast<char*>(layout),
               zero, zero, largest, sum, probabilities, y);
  return y.reshaped({q.dim(0), q.dim(1), q.dim(2) * q.dim(3)});
}

Tensor Attention::composed(const Tensor& q, const Tensor& k, const Tensor& v,
                           const AttentionMask& mask, float scale) {
  const Tensor causal = mask.kind == AttentionMask::Kind::causal ? dense(mask, q, k) : Tensor();
  const Tensor y =
      composed_attention(stream_, cast(stream_, q, DType::f32), cast(stream_, k, DType::f32),
                         cast(stream_, v, DType::f32), mask.key_lengths, causal, scale);
  return cast(stream_, y, q.dtype());
}

}  // namespace ernie_image::ascend
