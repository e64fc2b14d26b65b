// Weights on the card: copied there when first used, through pinned memory, while the file is read;
// gone again when room is needed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/card/stream.h"
#include "backend/device.h"

namespace ernie_image::card {

/// When weights leave the card.
enum class Offload {
  automatic,  ///< those of a finished stage when room is needed; layers that cannot all be there
  none,       ///< never
  encoder,    ///< those of a stage when it is done: text encoder and transformer take turns
  layers,     ///< each layer when the next but one is needed
};

/// That --offload names. Throws Error(invalid_argument).
Offload offload_mode(const std::string& text);

/// The option itself, of every card.
DeviceOption offload_option();

/// What a weight is on the card.
enum class WeightForm {
  on_host,    ///< not there: rows of it are picked on the host
  plain,      ///< as the file has it
  widened,    ///< f32, whatever the file has: vectors
  filters,    ///< [O, k, k, C], the channels that a convolution adds up side by side
  int8_rows,  ///< codes and scales for products of integers, see cuda/quantize.h
  int4,       ///< packed records
};

/// Forms of a weight that is not quantised, on a card that takes filters as they are.
WeightForm plain_form(WeightUse use);

class LayerStream;
struct WeightGroup;

/// The layers of one network, in order.
struct LayerChain {
  std::vector<std::weak_ptr<WeightGroup>> layers;
  bool is_complete = false;  ///< loading has ended
};

/// Weights that come and go together: those of a layer, or a single one.
struct WeightGroup {
  WeightGroup(std::shared_ptr<const Device> card, std::shared_ptr<const Queue> users,
              const Weight& first)
      : device(std::move(card)),
        queue(std::move(users)),
        network(first.network),
        layer(first.layer) {}
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
  std::string network;  ///< as those of its weights
  std::int64_t layer;   ///< likewise; -1 for a single weight
  std::vector<Entry> entries;
  std::size_t bytes = 0;
  std::size_t scratch_bytes = 0;  ///< what filling it takes beside
  DeviceBlock block;              ///< empty while the group is not there, and for streamed layers
  bool stage_done = false;
  std::shared_ptr<LayerChain> chain;  ///< of a layer
  std::size_t index = 0;              ///< in its chain
};

class CardWeight : public PreparedWeight {
 public:
  const Shape& shape() const override { return source.shape; }

  Weight source;
  WeightForm form = WeightForm::plain;
  std::shared_ptr<WeightGroup> group;  ///< null for what stays on the host
  std::size_t entry = 0;
};

inline const CardWeight& as_card_weight(const PreparedWeight& weight) {
  return static_cast<const CardWeight&>(weight);
}

/// How the bytes of a file become those of a form. This one knows plain and widened weights; cards
/// that have other forms too add them.
class WeightForms {
 public:
  virtual ~WeightForms() = default;
  /// Bytes of a weight in this form, and beside it while it is brought into it.
  virtual std::size_t bytes(const Weight& weight, WeightForm form) const;
  virtual std::size_t scratch_bytes(const Weight& /*weight*/, WeightForm /*form*/) const {
    return 0;
  }
  /// Copies a weight into memory of the card, in the order of `queue`.
  virtual void fill(const WeightGroup::Entry& entry, std::byte* target, std::byte* scratch,
                    Staging& staging, const Queue& queue) const;

  void fill(const WeightGroup& group, std::byte* target, std::byte* scratch, Staging& staging,
            const Queue& queue) const;
};

class WeightStore {
 public:
  /// `stream` and `forms` must outlive it.
  WeightStore(const Stream& stream, Offload offload, const WeightForms& forms);
  ~WeightStore();

  /// Throws Error(unsupported) for a plain weight of a dtype other than f32, f16 and bf16.
  WeightHandle prepare(const Weight& weight, WeightForm form);

  /// Where the weight is on the card, as its form says. For work that is queued before the next
  /// call.
  std::byte* resident(const PreparedWeight& weight);
  /// A weight whose form is numbers in its shape, but for the order of a filter's.
  Tensor tensor(const PreparedWeight& weight);

  Offload offload() const { return offload_; }
  /// Whether layers have been streamed in this stage: where they are changes from use to use.
  bool streams() const { return streams_; }

  /// As those of Backend.
  void begin_stage(const Backend::StageRoom& room);
  void end_stage();

 private:
  void place(CardWeight& weight);
  void start_group(const Weight& first);
  bool is_streamed(const WeightGroup& group) const;
  std::size_t free_bytes() const;
  void load(WeightGroup& group);
  void make_room(std::size_t bytes);
  void evict_finished(std::size_t wanted_free);
  std::vector<std::shared_ptr<WeightGroup>> live_groups();

  const Stream& stream_;
  Offload offload_;
  const WeightForms& forms_;
  Backend::StageRoom room_;
  std::unique_ptr<LayerStream> layers_;
  std::vector<std::weak_ptr<WeightGroup>> groups_;
  std::shared_ptr<WeightGroup> open_;  // the last one, while weights are added to it
  DeviceBlock scratch_;                // until the stage is done
  bool streams_ = false;
};

/// Rows of a table that stays on the host, out of the mapped file: one of 131072 x 3072 would be
/// 800 MB of the card's memory, and a prompt needs a few of them.
Tensor embedding_rows(std::span<const std::int32_t> ids, const PreparedWeight& table, DType dtype);

}  // namespace ernie_image::card
