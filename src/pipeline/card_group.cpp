#include "pipeline/card_group.h"

#include <algorithm>
#include <exception>
#include <future>

#include "core/start_thread.h"
#include "ernie_image/error.h"

namespace ernie_image {

void RankGate::meet(const CancelToken* cancel) {
  std::unique_lock lock(mutex_);
  is_cancelled_ = is_cancelled_ || (cancel != nullptr && cancel->requested());
  const std::uint64_t round = round_;
  if (++waiting_ == ranks_) {
    waiting_ = 0;
    ++round_;
    changed_.notify_all();
  }
  changed_.wait(lock, [&] { return round_ != round || has_left_; });
  if (has_left_ && round_ == round) throw OtherCardFailed();
  if (is_cancelled_) throw Error(ErrorKind::cancelled, "cancelled");
}

void RankGate::leave() {
  const std::lock_guard lock(mutex_);
  has_left_ = true;
  changed_.notify_all();
}

CardGroups::CardGroups(const DeviceKind& kind, std::span<Backend* const> cards, Together how)
    : tokens(cards.size()), halves(cards.size()), weights(cards.size()) {
  const auto connect = [&](std::span<Backend* const> members) {
    std::vector<std::unique_ptr<Collective>> group = kind.connect(members);
    return std::vector<std::shared_ptr<Collective>>(std::make_move_iterator(group.begin()),
                                                    std::make_move_iterator(group.end()));
  };
  if (how == Together::weights) {
    weights = connect(cards);
    return;
  }
  const bool in_halves = how == Together::halves;
  const std::size_t each = in_halves ? cards.size() / 2 : cards.size();
  for (std::size_t first = 0; first < cards.size() && each > 1; first += each) {
    const auto group = connect(cards.subspan(first, each));
    std::ranges::copy(group, tokens.begin() + static_cast<std::ptrdiff_t>(first));
  }
  for (std::size_t i = 0; in_halves && i < each; ++i) {
    const auto group = connect(std::vector<Backend*>{cards[i], cards[i + each]});
    halves[i] = group[0];
    halves[i + each] = group[1];
  }
}

void FirstFailure::keep(const std::exception_ptr& error) {
  const std::lock_guard lock(mutex_);
  if (error_ == nullptr) error_ = error;
}

void FirstFailure::rethrow() const {
  if (error_ != nullptr) std::rethrow_exception(error_);
}

void SharedRun::fail(const std::exception_ptr& error) const noexcept {
  failure.keep(error);
  if (tokens != nullptr) tokens->abort();
  if (halves != nullptr) halves->abort();
  if (weights != nullptr) weights->abort();
}

void run_ranks(RankGate& gate, FirstFailure& failure,
               std::span<const std::function<void()>> ranks) {
  const auto run = [&](const std::function<void()>& rank) {
    try {
      rank();
    } catch (const OtherCardFailed&) {
      gate.leave();
    } catch (...) {
      failure.keep(std::current_exception());
      gate.leave();
    }
  };
  {
    std::vector<std::future<void>> others;  // waited for however this ends
    try {
      for (const auto& rank : ranks.subspan(1))
        others.push_back(start_task([&run, &rank] { run(rank); }));
      run(ranks.front());
    } catch (...) {  // no thread for one of them
      failure.keep(std::current_exception());
      gate.leave();
    }
  }
  failure.rethrow();
}

}  // namespace ernie_image
