// What a rehearsal puts in the place of files: weights that have names, shapes and pages in the
// books, and layers that come and go there as WeightResidency lets them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/ledger.h"
#include "core/weight.h"
#include "memory/weight_residency.h"

namespace ernie_image {

class BookedWeights : public WeightSource {
 public:
  /// `stored`: what the files of a component hold. What a model asks for and they do not have, it
  /// gets as bf16. `network`: a number of its own in the ledger.
  BookedWeights(const Ledger& ledger, int network, std::vector<Weight> stored);

  int network() const { return network_; }

  bool contains(std::string_view name) const override;
  Weight get(const std::string& name, const Shape& expected_shape) override;
  void require_complete() const override {}
  std::vector<std::string> unused() const override { return {}; }
  void release_pages() const override;

 private:
  mutable Ledger ledger_;
  int network_;
  std::vector<Weight> stored_;
  std::map<std::string_view, const Weight*> by_name_;
  std::map<std::string, const std::byte*> pages_;  // of what has been asked for
};

class BookedResidency final : public LayerListener {
 public:
  BookedResidency(const Ledger& ledger, int network, const ResidencyPlan& plan)
      : ledger_(ledger), network_(network), plan_(plan) {}
  /// Lets all weights of the network go.
  ~BookedResidency() override { ledger_.release_network(network_); }
  BookedResidency(const BookedResidency&) = delete;
  BookedResidency& operator=(const BookedResidency&) = delete;

  void before_layer(std::int64_t index) override;

 private:
  Ledger ledger_;
  int network_;
  ResidencyPlan plan_;
};

}  // namespace ernie_image
