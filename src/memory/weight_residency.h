// Keeps the mapped weights of one component within a number of layers while it works.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

#include "core/weight.h"
#include "io/weight_files.h"

namespace ernie_image {

/// Which layers may be in memory; see StagePlan.
struct ResidencyPlan {
  std::int64_t layers = 0;
  std::int64_t resident_layers = 0;      ///< the first ones stay; all of them: nothing is streamed
  std::int64_t window_layers = 0;        ///< of the others: the one in use and those read ahead
  PageCache streamed = PageCache::keep;  ///< of a layer that is read again in the next step
  PageCache done = PageCache::keep;      ///< of the component at the end

  /// Whether a layer may be there while `current` is in use: layers that stay are read one ahead,
  /// the streamed ones as far ahead as the window allows.
  bool wants(std::int64_t layer, std::int64_t current) const;
};

/// While a layer computes, a thread reads those that come next and maps their pages; a streamed
/// layer that has been used is let go before the window moves on. A model computes the same without
/// all this, and the same numbers: pages that are absent are read when touched.
class WeightResidency final : public LayerListener {
 public:
  /// `files` must outlive this. Layer i has the weights whose names begin with
  /// `layer_prefix` + "i.".
  WeightResidency(const WeightFiles& files, std::string_view layer_prefix,
                  const ResidencyPlan& plan);
  /// Stops reading at once, and lets all pages of `files` go.
  ~WeightResidency() override;
  WeightResidency(const WeightResidency&) = delete;
  WeightResidency& operator=(const WeightResidency&) = delete;

  void before_layer(std::int64_t index) override;

 private:
  struct Layer {
    std::vector<FilePart> parts;
    bool touched = false;  ///< may have pages in memory
    bool read = false;     ///< the thread has taken it on
  };

  bool is_wanted(std::int64_t layer) const { return plan_.wants(layer, current_); }
  std::int64_t next_to_read() const;
  void release_unwanted();
  void read_until_stopped();
  void read(const Layer& layer, std::int64_t index);
  bool should_go_on(std::int64_t layer);

  const WeightFiles& files_;
  ResidencyPlan plan_;
  std::mutex mutex_;  // guards everything below
  std::condition_variable work_, idle_;
  std::vector<Layer> layers_;
  std::int64_t current_ = -1;  // in use; -1: not started
  std::int64_t reading_ = -1;  // by the thread; -1: none
  bool is_moving_ = false;     // what is not wanted any more has not been let go yet
  bool stopping_ = false;
  std::thread reader_;
};

/// Makes a model tell a listener, for as long as this lives.
template <class Model>
class ListeningScope {
 public:
  ListeningScope(Model& model, LayerListener& listener) : model_(model) {
    model_.set_layer_listener(&listener);
  }
  ~ListeningScope() { model_.set_layer_listener(nullptr); }
  ListeningScope(const ListeningScope&) = delete;
  ListeningScope& operator=(const ListeningScope&) = delete;

 private:
  Model& model_;
};

}  // namespace ernie_image
