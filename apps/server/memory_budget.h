// What bodies and responses may take of the server's memory, all together.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace ernie_image {

class MemoryBudget {
 public:
  explicit MemoryBudget(std::size_t limit_bytes) : limit_(limit_bytes) {}

  /// What one request holds; given back when it goes. What a small request needs is not counted, so
  /// that those are served in any case. One thread at a time.
  class Share {
   public:
    /// `client`: no client has more than half of the budget.
    Share(MemoryBudget& budget, std::string client) : budget_(budget), client_(std::move(client)) {}
    ~Share() { set(0); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    /// So many more. Throws ApiError(503) with Retry-After if there is no room.
    void take(std::size_t bytes) { take_within(bytes, std::chrono::milliseconds(0)); }
    /// The same, but waits a while for others to give some back: for what was worked for.
    void take_patiently(std::size_t bytes);
    /// That is all that is held now; not more than was taken.
    void set(std::size_t bytes);
    std::size_t bytes() const { return bytes_; }

   private:
    void take_within(std::size_t bytes, std::chrono::milliseconds patience);

    MemoryBudget& budget_;
    const std::string client_;
    std::size_t bytes_ = 0;
  };

  std::shared_ptr<Share> share(const std::string& client) {
    return std::make_shared<Share>(*this, client);
  }

  std::size_t used_bytes() {
    const std::lock_guard lock(mutex_);
    return used_;
  }

 private:
  bool has_room(std::size_t bytes, const std::string& client) const;

  const std::size_t limit_;
  std::mutex mutex_;
  std::condition_variable given_back_;
  std::size_t used_ = 0;
  std::map<std::string, std::size_t> of_client_;
};

}  // namespace ernie_image
