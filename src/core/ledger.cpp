#include "core/ledger.h"

#include <algorithm>
#include <utility>

namespace ernie_image {
namespace {

/// See is_booked. No processor has such addresses: whoever reads there is found at once.
constexpr std::uintptr_t kFirstAddress = std::uintptr_t{1} << 60;
constexpr std::uintptr_t kBookAlignment = 512;

thread_local Ledger* rehearsed = nullptr;

}  // namespace

void Ledger::Books::add(std::uint64_t bytes, Account account) {
  held.*account += bytes;
  most.*account = std::max(most.*account, held.*account);
  if (held.total() > peak.total()) peak = held;
}

std::byte* Ledger::enter(std::size_t bytes, Account account) {
  const std::uintptr_t address = kFirstAddress + books_->entered;
  books_->entered += (bytes / kBookAlignment + 1) * kBookAlignment;
  books_->add(bytes, account);
  return reinterpret_cast<std::byte*>(address);
}

void Ledger::leave(std::size_t bytes, Account account) { books_->held.*account -= bytes; }

std::shared_ptr<std::byte> Ledger::take(std::size_t bytes, Account account) {
  return {enter(bytes, account),
          [books = books_, bytes, account](std::byte*) { books->held.*account -= bytes; }};
}

void Ledger::Books::map(Pages& entry, std::size_t bytes) {
  const std::size_t more = std::min(bytes, entry.bytes - entry.mapped);
  entry.mapped += more;
  add(more, &Held::weights);
}

void Ledger::Books::release(Pages& entry) { held.weights -= std::exchange(entry.mapped, 0); }

std::byte* Ledger::add_pages(std::size_t bytes, int network) {
  std::byte* const address = enter(0);
  books_->pages.emplace(address, Pages{bytes, network});
  return address;
}

void Ledger::assign_layer(const std::byte* pages, std::int64_t layer) {
  const auto found = books_->pages.find(pages);
  if (found != books_->pages.end())
    books_->layers[{found->second.network, layer}].insert(&found->second);
}

void Ledger::touch(const std::byte* pages, std::size_t bytes) {
  const auto found = books_->pages.find(pages);
  if (found != books_->pages.end()) books_->map(found->second, bytes);
}

void Ledger::map_layer(int network, std::int64_t layer) {
  for (Pages* entry : books_->layers[{network, layer}]) books_->map(*entry, entry->bytes);
}

void Ledger::release_layer(int network, std::int64_t layer) {
  for (Pages* entry : books_->layers[{network, layer}]) books_->release(*entry);
}

void Ledger::release_network(int network) {
  for (auto& [address, entry] : books_->pages) {
    if (entry.network == network) books_->release(entry);
  }
}

std::vector<std::uint64_t> Ledger::layer_bytes(int network) const {
  std::vector<std::uint64_t> bytes;
  for (const auto& [key, entries] : books_->layers) {
    if (key.first != network || key.second < 0) continue;
    std::uint64_t sum = 0;
    for (const Pages* entry : entries) sum += entry->bytes;
    bytes.push_back(sum);
  }
  return bytes;
}

HostRehearsal::HostRehearsal(Ledger& ledger) : before_(std::exchange(rehearsed, &ledger)) {}
HostRehearsal::~HostRehearsal() { rehearsed = before_; }
Ledger* HostRehearsal::current() { return rehearsed; }

}  // namespace ernie_image
