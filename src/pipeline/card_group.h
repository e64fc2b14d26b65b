// Several cards that draw the same pictures together, each with the model and a thread of its own:
// they share tokens (nn/shared_tokens.h), the two halves of guidance, or both.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "backend/device.h"
#include "ernie_image/cancel.h"
#include "ernie_image/pipeline.h"

namespace ernie_image {

/// How several cards draw pictures together; `none`: each draws its own. With `halves` the two of
/// guidance are computed by half of the cards each, which share tokens if they are several. With
/// `weights` each has a share of these, and all of every tensor between layers.
enum class Together { none, tokens, halves, weights };

/// Where the ranks of a run wait for each other, so that all stop at the same place.
class RankGate {
 public:
  explicit RankGate(std::size_t ranks) : ranks_(ranks) {}

  /// Returns when every rank has come. Throws Error(cancelled) in all of them if that was asked
  /// for, and OtherCardFailed if one has left.
  void meet(const CancelToken* cancel);
  /// This rank has failed and will not come.
  void leave();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t ranks_;
  std::size_t waiting_ = 0;
  std::uint64_t round_ = 0;
  bool is_cancelled_ = false;
  bool has_left_ = false;
};

/// What a rank throws because another one has failed: not what people should read.
class OtherCardFailed : public Error {
 public:
  OtherCardFailed() : Error(ErrorKind::device, "another card of the group has failed") {}
};

/// What failed first in a run of several cards: the others fail because of it.
class FirstFailure {
 public:
  void keep(const std::exception_ptr& error);
  /// When no thread is left; nothing if nothing failed.
  void rethrow() const;

 private:
  std::mutex mutex_;
  std::exception_ptr error_;
};

/// A rank's place in a run that several cards share.
struct SharedRun {
  RankGate& gate;
  FirstFailure& failure;
  const CancelToken* cancel;
  std::shared_ptr<Collective> tokens;   ///< null: this card has all of its rows' tokens
  std::shared_ptr<Collective> halves;   ///< of two: rank 0 has the first half of guidance's rows
  std::shared_ptr<Collective> weights;  ///< null: this card has all weights

  /// This rank fails where the others may wait for it in an operation of the groups.
  void fail(const std::exception_ptr& error) const noexcept;
};

/// The groups of `cards`: in halves the first half of the cards and the second are groups for
/// tokens, and card i of the one and of the other a group for halves; else all are one, for tokens
/// or weights.
struct CardGroups {
  CardGroups(const DeviceKind& kind, std::span<Backend* const> cards, Together how);

  std::vector<std::shared_ptr<Collective>> tokens, halves, weights;  ///< of each card; may be null
};

/// Runs every rank on a thread of its own, the first on the calling one; throws what failed first.
void run_ranks(RankGate& gate, FirstFailure& failure, std::span<const std::function<void()>> ranks);

}  // namespace ernie_image
