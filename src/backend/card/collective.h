// Cards of one kind that send each other tensors: one body for the vendors' libraries.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backend/card/stream.h"
#include "backend/collective.h"
#include "ernie_image/error.h"

namespace ernie_image::card {

/// An operation of one rank, to be queued: of `x` into `y`.
template <typename Library>
struct CollectiveCall {
  typename Library::Stream& stream;
  typename Library::Handle handle;
  typename Library::Type type;
  const Tensor& x;
  Tensor& y;
  int ranks;
};

/// What `Library` has: the types Stream, Handle (of a rank's communicator), Status and Type; kKind
/// ("cuda"), kSuccess, kF32, kBf16, kAdvice for what fails; and of its functions
///   problem()                          why the library cannot be used; empty if it can
///   connect(cards, handles)            Status
///   disconnect(handle), abort(handle)  of a group that is done with, of one that has failed
///   words(status), detail(handle)      of an error, either may be null; a null handle is no rank's
///   all_to_all, all_gather, all_reduce(call)   Status, queued
///   swap_rows(stream, x)
/// For all below. This one throws Error(device).
template <typename Library>
void require_success(typename Library::Status status, typename Library::Handle handle,
                     const std::string& attempted) {
  if (status == Library::kSuccess) return;
  const char* const words = Library::words(status);
  const char* const detail = Library::detail(handle);
  std::string message = std::string(Library::kKind) + ": " + attempted + " failed with " +
                        std::to_string(static_cast<int>(status));
  if (words != nullptr && *words != '\0') message += " (" + std::string(words) + ")";
  if (detail != nullptr && *detail != '\0') message += ": " + std::string(detail);
  message += std::string("; ") + Library::kAdvice + "; --parallel pictures does without";
  throw Error(ErrorKind::device, message);
}

template <typename Library>
typename Library::Type sent_type(const Tensor& x) {
  switch (x.dtype()) {
    case DType::f32:
      return Library::kF32;
    case DType::bf16:
      return Library::kBf16;
    default:
      throw Error(ErrorKind::unsupported, std::string(Library::kKind) +
                                              ": cards send each other F32 and BF16, not " +
                                              described(x));
  }
}

/// The communicators of a group. Whoever gives up first aborts all, once: the others' operations
/// then end.
template <typename Library>
class Communicators {
 public:
  explicit Communicators(std::vector<int> cards)
      : cards_(std::move(cards)), handles_(cards_.size()) {
    require_success<Library>(Library::connect(cards_, handles_.data()), nullptr,
                             "connecting " + std::to_string(cards_.size()) + " cards");
  }
  ~Communicators() {
    if (is_given_up_) return;
    for (const auto handle : handles_) Library::disconnect(handle);
  }
  Communicators(const Communicators&) = delete;
  Communicators& operator=(const Communicators&) = delete;

  typename Library::Handle of(int rank) const { return handles_[static_cast<std::size_t>(rank)]; }
  bool is_given_up() const { return is_given_up_; }
  void give_up() noexcept {
    if (is_given_up_.exchange(true)) return;
    for (const auto handle : handles_) Library::abort(handle);
  }

 private:
  std::vector<int> cards_;
  std::vector<typename Library::Handle> handles_;
  std::atomic<bool> is_given_up_{false};
};

template <typename Library>
class CardCollective final : public Collective {
 public:
  using Call = CollectiveCall<Library>;

  CardCollective(typename Library::Stream& stream, int rank, int size,
                 std::shared_ptr<Communicators<Library>> group)
      : Collective(rank, size), stream_(stream), group_(std::move(group)) {}
  /// What is queued still needs the group.
  ~CardCollective() override { stream_.queue().try_synchronize(); }

  Tensor all_to_all(const Tensor& x) override {
    return queued("all_to_all", Library::all_to_all, x, x.shape());
  }
  Tensor all_gather(const Tensor& x) override {
    Shape shape = x.shape();
    shape.insert(shape.begin(), size());
    return queued("all_gather", Library::all_gather, x, shape);
  }
  Tensor all_reduce(const Tensor& x) override {
    return queued("all_reduce", Library::all_reduce, x, x.shape());
  }
  Tensor swap_rows(const Tensor& x) override { return Library::swap_rows(stream_, x); }
  void abort() noexcept override { group_->give_up(); }

 private:
  Tensor queued(const char* operation, typename Library::Status (*function)(const Call&),
                const Tensor& x, const Shape& shape) {
    const std::string attempted = std::string(operation) + " of " + described(x);
    stream_.begin_call();
    require_group(attempted);
    Tensor y = stream_.empty(x.dtype(), shape);
    const auto handle = group_->of(rank());
    const auto status = function({stream_, handle, sent_type<Library>(x), x, y, size()});
    if (status != Library::kSuccess) require_group(attempted);
    require_success<Library>(status, handle, attempted);
    return y;
  }
  void require_group(const std::string& attempted) const {
    if (!group_->is_given_up()) return;
    throw Error(ErrorKind::device, std::string(Library::kKind) + ": " + attempted +
                                       ": another card has failed, and the group is given up");
  }

  typename Library::Stream& stream_;
  std::shared_ptr<Communicators<Library>> group_;
};

/// As DeviceKind::connect. Throws Error(not_found) without the library.
template <typename Library>
std::vector<std::unique_ptr<Collective>> connect(
    std::span<typename Library::Stream* const> streams) {
  if (const std::string& problem = Library::problem(); !problem.empty()) {
    throw Error(ErrorKind::not_found,
                std::string(Library::kKind) + ": several cards for one picture: " + problem);
  }
  std::vector<int> cards;
  for (const auto* stream : streams) cards.push_back(stream->device().index());
  const auto group = std::make_shared<Communicators<Library>>(cards);
  std::vector<std::unique_ptr<Collective>> ranks;
  for (auto* stream : streams) {
    ranks.push_back(std::make_unique<CardCollective<Library>>(
        *stream, static_cast<int>(ranks.size()), static_cast<int>(streams.size()), group));
  }
  return ranks;
}

}  // namespace ernie_image::card
