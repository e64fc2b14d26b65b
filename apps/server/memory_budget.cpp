#include "server/memory_budget.h"

#include "server/api_error.h"

namespace ernie_image {
namespace {

constexpr std::size_t kUncounted = 64 << 10;
constexpr std::chrono::seconds kBudgetPatience{10};

std::size_t counted(std::size_t bytes) { return bytes <= kUncounted ? 0 : bytes; }

}  // namespace

/// What is larger than the whole budget, or a client's part of it, gets it when nothing else has.
bool MemoryBudget::has_room(std::size_t bytes, const std::string& client) const {
  const auto found = of_client_.find(client);
  const std::size_t own = found == of_client_.end() ? 0 : found->second;
  return (used_ == 0 || used_ + bytes <= limit_) && (own == 0 || own + bytes <= limit_ / 2);
}

void MemoryBudget::Share::take_within(std::size_t bytes, std::chrono::milliseconds patience) {
  const std::size_t more = counted(bytes_ + bytes) - counted(bytes_);
  std::unique_lock lock(budget_.mutex_);
  const bool has_room = more == 0 || budget_.given_back_.wait_for(lock, patience, [&] {
    return budget_.has_room(more, client_);
  });
  if (!has_room) {
    ApiError error(503, "the server has no memory left for a request of this size at the moment",
                   "", "overloaded");
    error.retry_after_seconds = 5;
    throw error;
  }
  if (more > 0) budget_.of_client_[client_] += more;
  budget_.used_ += more;
  bytes_ += bytes;
}

void MemoryBudget::Share::take_patiently(std::size_t bytes) { take_within(bytes, kBudgetPatience); }

void MemoryBudget::Share::set(std::size_t bytes) {
  if (bytes >= bytes_) return;
  const std::size_t less = counted(bytes_) - counted(bytes);
  bytes_ = bytes;
  if (less == 0) return;
  {
    const std::lock_guard lock(budget_.mutex_);
    budget_.used_ -= less;
    const auto own = budget_.of_client_.find(client_);
    own->second -= less;
    if (own->second == 0) budget_.of_client_.erase(own);
  }
  budget_.given_back_.notify_all();
}

}  // namespace ernie_image
