// Weights on the card: copied there when first used, through pinned memory, while the file is read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/ascend/call.h"
#include "backend/backend.h"

namespace ernie_image::ascend {

/// When weights leave the card.
enum class Offload {
  automatic,  ///< those of a finished stage when room is needed; layers that cannot all be there
  none,       ///< never
  encoder,    ///< those of a stage when it is done: text encoder and transformer take turns
  layers,     ///< each layer when the next but one is needed
};

class LayerStream;
struct WeightGroup;

/// The layers of one network, in order.
struct LayerChain {
  std::vector<std::weak_ptr<WeightGroup>> layers;
  bool streamed = false;
  bool decided = false;  ///< whether they are streamed, for this stage
};

/// Weights that come and go together: those of a layer, or a single one.
struct WeightGroup {
  WeightGroup(std::shared_ptr<const Device> card, std::shared_ptr<const Queue> users)
      : device(std::move(card)), queue(std::move(users)) {}
  ~WeightGroup();
  WeightGroup(const WeightGroup&) = delete;
  WeightGroup& operator=(const WeightGroup&) = delete;

  struct Entry {
    Weight source;
    bool widen;  ///< f32 on the card whatever the file has
    std::size_t offset;
  };

  std::shared_ptr<const Device> device;
  std::shared_ptr<const Queue> queue;
  std::string layer;  ///< "layers.7." with what comes before it, or empty
  std::vector<Entry> entries;
  std::size_t bytes = 0;
  DeviceBlock block;  ///< empty while the group is not there, and for streamed layers
  bool stage_done = false;
  std::shared_ptr<LayerChain> chain;  ///< of a layer
  std::size_t index = 0;              ///< in its chain
};

class AscendWeight : public PreparedWeight {
 public:
  const Shape& shape() const override { return source.shape; }

  Weight source;
  WeightUse use = WeightUse::linear;
  std::shared_ptr<WeightGroup> group;  ///< null for embeddings, which are read on the host
  std::size_t entry = 0;
};

/// Copies a group into memory of the card, in the order of `queue`.
void fill(const WeightGroup& group, std::byte* target, class Staging& staging, const Queue& queue);

class WeightStore {
 public:
  WeightStore(Stream& stream, Offload offload);
  ~WeightStore();

  /// Throws Error(unsupported) for a dtype other than f32, f16 and bf16.
  WeightHandle prepare(const Weight& weight, WeightUse use);

  /// The weight on the card, in the format of its file but for vectors, which are f32. For work
  /// that is queued before the next call.
  Tensor resident(const PreparedWeight& weight);

  /// As those of Backend.
  void begin_stage(std::uint64_t activation_bytes);
  void end_stage();

 private:
  void place(AscendWeight& weight);
  void start_group(const std::string& layer);
  bool is_streamed(const WeightGroup& group);
  bool fits(LayerChain& chain);
  void load(WeightGroup& group);
  void make_room(std::size_t bytes);
  void evict(bool only_finished, std::size_t wanted_free);
  std::vector<std::shared_ptr<WeightGroup>> live_groups();

  Stream& stream_;
  Offload offload_;
  std::size_t reserve_;  // for activations, when it is decided whether all layers can be there
  std::unique_ptr<LayerStream> layers_;
  std::vector<std::weak_ptr<WeightGroup>> groups_;
  std::shared_ptr<WeightGroup> open_;  // the last one, while weights are added to it
};

}  // namespace ernie_image::ascend
