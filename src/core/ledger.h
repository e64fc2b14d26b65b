// The books of a rehearsal: a run of the same code with tensors that have shapes and no data, whose
// allocators enter what they would hold. Its peak is the plan of the real run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

namespace ernie_image {

/// What is held, by whom, and the most of it at a time. Copies are the same books. For one thread.
class Ledger {
 public:
  struct Held {
    std::uint64_t activations = 0;  ///< tensors and scratch memory, cached free blocks included
    std::uint64_t weights = 0;      ///< pages of mapped files
    std::uint64_t copies = 0;       ///< weights in another form than the file's

    std::uint64_t total() const { return activations + weights + copies; }
  };
  using Account = std::uint64_t Held::*;

  Ledger() : books_(std::make_shared<Books>()) {}

  /// `bytes` more, until the block is let go. Its address is nobody else's, and nothing is there.
  std::shared_ptr<std::byte> take(std::size_t bytes, Account account = &Held::activations);
  /// The same without an owner.
  std::byte* enter(std::size_t bytes, Account account = &Held::activations);
  void leave(std::size_t bytes, Account account = &Held::activations);

  const Held& held() const { return books_->held; }
  /// When it was the most in all, since the last reset.
  const Held& peak() const { return books_->peak; }
  /// The most of one account.
  std::uint64_t peak_of(Account account) const { return books_->most.*account; }
  void reset_peak() { books_->peak = books_->most = books_->held; }

  // ---- weights that are read where a file is mapped: there from their first use on, until they
  // are let go

  /// Pages of a weight of a network; the address stands for them.
  std::byte* add_pages(std::size_t bytes, int network);
  /// Which of the network's layers they belong to; -1: none.
  void assign_layer(const std::byte* pages, std::int64_t layer);
  /// All of them, or some more, such as rows of a table. Other addresses are not in the books.
  void touch(const std::byte* pages, std::size_t bytes = SIZE_MAX);
  void map_layer(int network, std::int64_t layer);
  void release_layer(int network, std::int64_t layer);
  void release_network(int network);
  /// Of each layer, in order.
  std::vector<std::uint64_t> layer_bytes(int network) const;

 private:
  struct Pages {
    std::size_t bytes;
    int network;
    std::size_t mapped = 0;
  };
  struct Books {
    Held held, peak, most;
    std::uint64_t entered = 0;
    std::unordered_map<const std::byte*, Pages> pages;
    std::map<std::pair<int, std::int64_t>, std::set<Pages*>> layers;
    void add(std::uint64_t bytes, Account account);
    void map(Pages& entry, std::size_t bytes);
    void release(Pages& entry);
  };
  std::shared_ptr<Books> books_;
};

/// While this lives, host tensors of this thread are entered into `ledger` and have no data.
class HostRehearsal {
 public:
  explicit HostRehearsal(Ledger& ledger);
  ~HostRehearsal();
  HostRehearsal(const HostRehearsal&) = delete;
  HostRehearsal& operator=(const HostRehearsal&) = delete;

  /// Null if this thread rehearses nothing.
  static Ledger* current();

 private:
  Ledger* before_;
};

}  // namespace ernie_image
