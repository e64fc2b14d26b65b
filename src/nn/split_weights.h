// The weights of a network's layers shared out among cards ("tensor parallel", arXiv:1909.08053):
// of what a layer multiplies first (q, k, v; gate, up) each card has some of the outputs, of what
// follows (o; down) the inputs that belong to them, and what that gives is summed over the cards.
#pragma once

#include <cstdint>

#include "backend/backend.h"
#include "backend/collective.h"

namespace ernie_image {

/// Which share of each split weight a card has.
struct WeightShare {
  int rank = 0;
  int ranks = 1;  ///< 1: all of each weight

  bool is_all() const { return ranks == 1; }
  /// How many of `count` are this card's.
  std::int64_t of(std::int64_t count) const { return count / ranks; }
};

/// The share of a linear weight [N, K]: of its rows, [N / ranks, K], or of its columns,
/// [N, K / ranks]. Numbers that lie together stay where they are mapped; others are read by a
/// decoder. Throws Error(unsupported) for a packed weight that is not as long as its layout says.
Weight rows_of(const Weight& weight, const WeightShare& share);
Weight columns_of(const Weight& weight, const WeightShare& share);

/// Throws Error(unsupported) if `count` of `what` ("heads of attention") cannot be shared out.
void require_divides(const WeightShare& share, std::int64_t count, const char* what);

/// What the layers of a network know of it.
class SplitWeights {
 public:
  explicit SplitWeights(const WeightShare& share) : share_(share) {}

  const WeightShare& share() const { return share_; }

  /// By whom results are summed from now on; null for a rehearsal, which has no other cards.
  void sum_over(Collective* group) { group_ = group; }

  /// A card's part of a result as the whole.
  Tensor sum(Backend& ops, const Tensor& part) const;

 private:
  WeightShare share_;
  Collective* group_ = nullptr;
};

}  // namespace ernie_image
