#include "memory/rehearsal.h"

#include <utility>

namespace ernie_image {

BookedWeights::BookedWeights(const Ledger& ledger, int network, std::vector<Weight> stored)
    : ledger_(ledger), network_(network), stored_(std::move(stored)) {
  for (const Weight& weight : stored_) by_name_.emplace(weight.name, &weight);
}

bool BookedWeights::contains(std::string_view name) const { return by_name_.contains(name); }

Weight BookedWeights::get(const std::string& name, const Shape& expected_shape) {
  Weight weight;
  weight.dtype = DType::bf16;
  const auto found = by_name_.find(name);
  if (found != by_name_.end()) weight = *found->second;
  weight.name = name;
  weight.shape = expected_shape;
  weight.owner = nullptr;
  const std::byte*& pages = pages_[name];
  if (pages == nullptr) pages = ledger_.add_pages(weight.size_bytes(), network_);
  weight.data = pages;
  return weight;
}

void BookedWeights::release_pages() const { ledger_.release_network(network_); }

void BookedResidency::before_layer(std::int64_t index) {
  for (std::int64_t layer = plan_.resident_layers; layer < plan_.layers; ++layer) {
    if (!plan_.wants(layer, index)) ledger_.release_layer(network_, layer);
  }
  if (index < plan_.layers) ledger_.map_layer(network_, index);
  for (std::int64_t layer = index + 1; layer < plan_.layers; ++layer) {
    if (plan_.wants(layer, index)) ledger_.map_layer(network_, layer);
  }
}

}  // namespace ernie_image
