#include "nn/shared_tokens.h"

#include <cassert>

namespace ernie_image {
namespace {

/// [B, s, heads, D] of own tokens to [B, S, heads / P, D] of own heads.
Tensor to_heads(Collective& group, const Tensor& x) {
  const std::int64_t cards = group.size(), batch = x.dim(0), own = x.dim(1), heads = x.dim(2);
  assert(heads % cards == 0);
  const std::int64_t part = heads / cards * x.dim(3);
  const Tensor by_card = group.swap_rows(x.reshaped({batch * own, cards, part}));
  const Tensor received = group.all_to_all(by_card);  // [P: which tokens, B, s, part]
  return group.swap_rows(received.reshaped({cards, batch, own * part}))
      .reshaped({batch, cards * own, heads / cards, x.dim(3)});
}

/// [B, S, width] of own heads to [B, s, P width] of own tokens.
Tensor to_tokens(Collective& group, const Tensor& x) {
  const std::int64_t cards = group.size(), batch = x.dim(0), own = x.dim(1) / cards;
  const std::int64_t part = x.dim(2);
  const Tensor by_card = group.swap_rows(x.reshaped({batch, cards, own * part}));
  const Tensor received = group.all_to_all(by_card);  // [P: which heads, B, s, part]
  return group.swap_rows(received.reshaped({cards, batch * own, part}))
      .reshaped({batch, own, cards * part});
}

}  // namespace

std::int64_t shareable_tokens(const Collective* group, std::int64_t tokens) {
  if (group == nullptr) return tokens;
  return (tokens + group->size() - 1) / group->size() * group->size();
}

Tensor own_tokens(Backend& ops, const Collective* group, const Tensor& all) {
  if (group == nullptr) return all;
  const std::int64_t own = all.dim(1) / group->size();
  return ops.slice_rows(all, group->rank() * own, own);
}

Tensor all_tokens(Collective* group, const Tensor& own) {
  if (group == nullptr) return own;
  const std::int64_t cards = group->size(), batch = own.dim(0), rows = own.dim(1);
  return group->swap_rows(group->all_gather(own).reshaped({cards, batch, rows * own.dim(2)}))
      .reshaped({batch, cards * rows, own.dim(2)});
}

Tensor shared_attention(Backend& ops, Collective* group, const Tensor& q, const Tensor& k,
                        const Tensor& v, const AttentionMask& mask, float scale) {
  if (group == nullptr) return ops.attention(q, k, v, mask, scale);
  const Tensor query = to_heads(*group, q), key = to_heads(*group, k);
  const Tensor value = to_heads(*group, v);
  return to_tokens(*group, ops.attention(query, key, value, mask, scale));
}

}  // namespace ernie_image
