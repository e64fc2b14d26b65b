// Weights on the card: copied there when first used, through pinned memory, while the file is read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/quantize.h"
#include "backend/cuda/stream.h"

namespace ernie_image::cuda {

/// When weights leave the card.
enum class Offload {
  automatic,  ///< those of a finished stage when room is needed; layers that cannot all be there
  none,       ///< never
  encoder,    ///< those of a stage when it is done: text encoder and transformer take turns
  layers,     ///< each layer when the next but one is needed
};

/// What a weight is on the card.
enum class WeightForm {
  plain,      ///< as the file has it
  widened,    ///< f32, whatever the file has: vectors
  filters,    ///< [O, k, k, C], the channels that a convolution adds up side by side
  int8_rows,  ///< Int8Rows, in the order of Int8Layout
  int4,       ///< packed records
};

class LayerStream;
class Staging;
struct WeightGroup;

/// The layers of one network, in order.
struct LayerChain {
  std::vector<std::weak_ptr<WeightGroup>> layers;
  bool streamed = false;
  bool decided = false;  ///< whether they are streamed
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
    WeightForm form;
    std::size_t offset;
  };

  std::shared_ptr<const Device> device;
  std::shared_ptr<const Queue> queue;
  std::string layer;  ///< "layers.7." with what comes before it, or empty
  std::vector<Entry> entries;
  std::size_t bytes = 0;
  std::size_t scratch_bytes = 0;  ///< what filling it takes beside
  DeviceBlock block;              ///< empty while the group is not there, and for streamed layers
  bool stage_done = false;
  std::shared_ptr<LayerChain> chain;  ///< of a layer
  std::size_t index = 0;              ///< in its chain
};

class CudaWeight : public PreparedWeight {
 public:
  const Shape& shape() const override { return source.shape; }

  Weight source;
  WeightForm form = WeightForm::plain;
  std::shared_ptr<WeightGroup> group;  ///< null for embeddings, which are read on the host
  std::size_t entry = 0;
};

inline const CudaWeight& as_cuda_weight(const PreparedWeight& weight) {
  return static_cast<const CudaWeight&>(weight);
}

/// Bytes of a weight in this form, and beside it while it is brought into it.
std::size_t form_bytes(const Weight& weight, WeightForm form);
std::size_t form_scratch_bytes(const Weight& weight, WeightForm form);

/// Copies a group into memory of the card, in the order of `queue`.
void fill(const WeightGroup& group, std::byte* target, std::byte* scratch, Staging& staging,
          const Queue& queue);

class WeightStore {
 public:
  WeightStore(Stream& stream, Offload offload);
  ~WeightStore();

  /// Throws Error(unsupported) for a dtype other than f32, f16 and bf16, Error(corrupt_file) for a
  /// packed weight whose bytes are not what its shape demands.
  WeightHandle prepare(const Weight& weight, WeightUse use, Quantization quantization);

  /// Where the weight is on the card, as its form says. For work that is queued before the next
  /// call.
  std::byte* resident(const PreparedWeight& weight);
  /// A plain, widened or filter weight as a tensor.
  Tensor tensor(const PreparedWeight& weight);
  Int8Rows int8_rows(const PreparedWeight& weight);

  /// Whether layers have been streamed in this stage: where they are changes from use to use.
  bool streams() const { return streams_; }

  /// The stage that used the weights so far is done.
  void end_stage();

 private:
  void place(CudaWeight& weight);
  void start_group(const std::string& layer);
  bool is_streamed(const WeightGroup& group);
  void load(WeightGroup& group);
  void make_room(std::size_t bytes);
  void evict(bool only_finished, std::size_t wanted_free);
  std::vector<std::shared_ptr<WeightGroup>> live_groups();

  Stream& stream_;
  Offload offload_;
  std::unique_ptr<LayerStream> layers_;
  std::vector<std::weak_ptr<WeightGroup>> groups_;
  std::shared_ptr<WeightGroup> open_;  // the last one, while weights are added to it
  DeviceBlock scratch_;                // until the stage is done
  bool streams_ = false;
};

}  // namespace ernie_image::cuda
