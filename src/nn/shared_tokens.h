// The tokens of a picture shared out among cards (a Collective): each has as many rows of
// every tensor, and for attention it has all rows of some heads ("Ulysses", arXiv:2309.14509).
// Without a group, null, all of this does nothing.
#pragma once

#include "backend/backend.h"
#include "backend/collective.h"

namespace ernie_image {

/// `tokens` filled up to a multiple of the number of cards.
std::int64_t shareable_tokens(const Collective* group, std::int64_t tokens);

/// This card's rows of [B, S, C], S a multiple of the number of cards: [B, S / P, C].
Tensor own_tokens(Backend& ops, const Collective* group, const Tensor& all);

/// The reverse, on every card.
Tensor all_tokens(Collective* group, const Tensor& own);

/// Backend::attention of tokens that are shared out: q, k, v [B, S / P, heads, D] to
/// [B, S / P, heads * D]. The number of heads is a multiple of that of the cards, and as large for
/// k and v as for q; `mask` is that of all tokens.
Tensor shared_attention(Backend& ops, Collective* group, const Tensor& q, const Tensor& k,
                        const Tensor& v, const AttentionMask& mask, float scale);

}  // namespace ernie_image
