#include "backend/card/weights.h"

#include <algorithm>
#include <cassert>

#include "backend/card/layer_stream.h"
#include "backend/card/option.h"
#include "ernie_image/error.h"

namespace ernie_image::card {
namespace {

constexpr Choices<Offload, 4> kOffloads = {{{"auto", Offload::automatic},
                                            {"none", Offload::none},
                                            {"encoder", Offload::encoder},
                                            {"layers", Offload::layers}}};

constexpr std::size_t kAlignment = 512;

void require_supported(const Weight& weight, const std::string& device) {
  if (is_weight_number(weight.dtype)) return;
  throw Error(ErrorKind::unsupported,
              device + ": weight " + weight.name + " " + ernie_image::to_string(weight.shape) +
                  " is " + std::string(dtype_name(weight.dtype)) + "; expected F32, F16 or BF16");
}

}  // namespace

Offload offload_mode(const std::string& text) { return option("--offload", text, kOffloads); }

DeviceOption offload_option() {
  return {"offload", words_of(kOffloads),
          "when weights leave a device's memory: auto (default) when room is needed, none, encoder "
          "when their stage is done, layers streams them from the file"};
}

WeightGroup::~WeightGroup() {
  if (block.data() != nullptr) queue->try_synchronize();  // queued work may read it
}

WeightStore::WeightStore(const Stream& stream, Offload offload, const WeightForms& forms)
    : stream_(stream),
      offload_(offload),
      forms_(forms),
      layers_(std::make_unique<LayerStream>(stream, forms,
                                            [this](std::size_t bytes) { make_room(bytes); })) {}

WeightStore::~WeightStore() = default;

WeightHandle WeightStore::prepare(const Weight& weight, WeightForm form) {
  if (!is_packed(weight.format)) require_supported(weight, stream_.device().kind());
  const auto prepared = std::make_shared<CardWeight>();
  prepared->source = weight;
  prepared->form = form;
  if (weight.data != nullptr && form != WeightForm::on_host) place(*prepared);
  return prepared;
}

void WeightStore::place(CardWeight& weight) {
  const Weight& source = weight.source;
  const bool continues = open_ != nullptr && source.layer >= 0 && open_->layer == source.layer &&
                         open_->network == source.network && open_->block.data() == nullptr &&
                         !open_->chain->is_complete;
  if (!continues) start_group(source);
  weight.group = open_;
  weight.entry = open_->entries.size();
  open_->entries.push_back({weight.source, weight.form, open_->bytes});
  const std::size_t size =
      forms_.bytes(weight.source, weight.form) + stream_.device().spare_bytes();
  open_->bytes += (size + kAlignment - 1) / kAlignment * kAlignment;
  open_->scratch_bytes =
      std::max(open_->scratch_bytes, forms_.scratch_bytes(weight.source, weight.form));
}

void WeightStore::start_group(const Weight& first) {
  const auto group =
      std::make_shared<WeightGroup>(stream_.shared_device(), stream_.shared_queue(), first);
  if (first.layer >= 0) {
    const bool same_network = open_ != nullptr && open_->chain != nullptr &&
                              !open_->chain->is_complete && open_->network == first.network;
    group->chain = same_network ? open_->chain : std::make_shared<LayerChain>();
    group->index = group->chain->layers.size();
    group->chain->layers.push_back(group);
  }
  std::erase_if(groups_, [](const auto& known) { return known.expired(); });
  groups_.push_back(group);
  open_ = group;
}

std::byte* WeightStore::resident(const PreparedWeight& prepared) {
  const CardWeight& weight = as_card_weight(prepared);
  assert(weight.group != nullptr);
  open_ = nullptr;  // loading has ended
  WeightGroup& group = *weight.group;
  if (group.chain != nullptr) group.chain->is_complete = true;
  stream_.device().bind();
  std::byte* base = nullptr;
  if (is_streamed(group)) {
    stream_.device().require_not_recording(stream_.queue().handle(), "streaming layers");
    streams_ = true;
    base = layers_->use(weight.group);
  } else {
    if (group.block.data() == nullptr) load(group);
    base = group.block.data();
  }
  group.stage_done = false;
  return base + group.entries[weight.entry].offset;
}

Tensor WeightStore::tensor(const PreparedWeight& prepared) {
  const CardWeight& weight = as_card_weight(prepared);
  const DType dtype = weight.form == WeightForm::widened ? DType::f32 : weight.source.dtype;
  return {dtype, weight.source.shape, resident(prepared), weight.group};
}

/// As the stage's plan says.
bool WeightStore::is_streamed(const WeightGroup& group) const {
  return group.chain != nullptr && (offload_ == Offload::layers || room_.streams_layers);
}

/// Of what the stage may hold, when its activations are there too.
std::size_t WeightStore::free_bytes() const {
  const Device& device = stream_.device();
  const auto saturating_sub = [](std::uint64_t a, std::uint64_t b) { return a - std::min(a, b); };
  const std::uint64_t room = std::min<std::uint64_t>(
      device.free_bytes(), saturating_sub(room_.bytes, device.held_bytes()));
  return saturating_sub(room,
                        saturating_sub(room_.activation_bytes, stream_.memory().held_bytes()));
}

void WeightStore::load(WeightGroup& group) {
  stream_.device().require_not_recording(stream_.queue().handle(), "bringing weights to the card");
  if (scratch_.bytes() < group.scratch_bytes) {
    stream_.queue().synchronize();
    scratch_ = DeviceBlock();
    make_room(group.scratch_bytes);
    scratch_ = DeviceBlock(stream_.device(), group.scratch_bytes);
  }
  make_room(group.bytes);
  group.block = DeviceBlock(stream_.device(), group.bytes);
  forms_.fill(group, group.block.data(), scratch_.data(), stream_.staging(), stream_.queue());
}

void WeightStore::make_room(std::size_t bytes) {
  if (offload_ == Offload::none || free_bytes() >= bytes) return;
  stream_.memory().release_cache();
  evict_finished(bytes);
}

/// Until so much is free.
void WeightStore::evict_finished(std::size_t wanted_free) {
  stream_.queue().synchronize();
  for (const auto& group : live_groups()) {
    if (free_bytes() >= wanted_free) return;
    if (group->stage_done) group->block = DeviceBlock();
  }
}

std::vector<std::shared_ptr<WeightGroup>> WeightStore::live_groups() {
  std::vector<std::shared_ptr<WeightGroup>> live;
  for (const auto& known : groups_) {
    if (auto group = known.lock()) live.push_back(std::move(group));
  }
  return live;
}

void WeightStore::begin_stage(const Backend::StageRoom& room) {
  open_ = nullptr;  // loading has ended
  room_ = room;
  stream_.device().set_room(room.bytes);
  streams_ = false;
  layers_->release();
  if (room.activation_bytes > 0) make_room(1);  // beside them
  if (!room.streams_layers) return;
  stream_.queue().synchronize();
  for (const auto& group : live_groups()) {
    if (group->chain == nullptr) continue;
    group->chain->is_complete = true;
    group->block = DeviceBlock();
  }
}

void WeightStore::end_stage() {
  for (const auto& group : live_groups()) group->stage_done = true;
  layers_->release();
  streams_ = false;
  stream_.device().bind();
  stream_.queue().synchronize();
  scratch_ = DeviceBlock();
  room_ = {};
  stream_.device().set_room(room_.bytes);
  if (offload_ == Offload::encoder || offload_ == Offload::layers)
    evict_finished(stream_.device().total_bytes());
}

}  // namespace ernie_image::card
