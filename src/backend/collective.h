// What cards that work on one picture send each other: implemented once for each kind of card.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace ernie_image {

/// One card's place in a group of cards ("ranks"). Every rank calls the same operations with the
/// same shapes and types in the same order, each from a thread of its own; they are queued like the
/// operations of its backend, whose tensors they take and give. What fails throws Error(device).
class Collective {
 public:
  Collective(int rank, int size) : rank_(rank), size_(size) {}
  virtual ~Collective() = default;
  Collective(const Collective&) = delete;
  Collective& operator=(const Collective&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  /// x [P, ...] with P = size(): part r goes to rank r. Part r of the result came from rank r.
  virtual Tensor all_to_all(const Tensor& x) = 0;
  /// [P, ...]: part r is the x of rank r.
  virtual Tensor all_gather(const Tensor& x) = 0;
  /// The sum of all x, in the order that the vendor's library adds.
  virtual Tensor all_reduce(const Tensor& x) = 0;

  /// [A, B, C] to [B, A, C], on this card alone: what is sent to a rank has to lie together.
  virtual Tensor swap_rows(const Tensor& x) = 0;

  /// After a failure of this rank between two operations of the others: gives up the group, so that
  /// they fail too and do not wait for ever. Callable from any thread.
  virtual void abort() noexcept = 0;

 private:
  int rank_;
  int size_;
};

}  // namespace ernie_image
