#include "backend/cuda/weights.h"

#include <algorithm>
#include <cassert>
#include <future>
#include <thread>

#include "backend/cuda/layer_stream.h"
#include "backend/cuda/upload.h"
#include "ernie_image/error.h"

namespace ernie_image::cuda {
namespace {

constexpr std::size_t kAlignment = 512;
/// What is left for activations and workspaces when it is decided whether all layers can be there.
constexpr std::size_t kActivationReserve = std::size_t{2} << 30;

void require_supported(const Weight& weight) {
  if (weight.dtype == DType::f32 || weight.dtype == DType::f16 || weight.dtype == DType::bf16)
    return;
  throw Error(ErrorKind::unsupported,
              "cuda: weight " + weight.name + " " + ernie_image::to_string(weight.shape) + " is " +
                  std::string(dtype_name(weight.dtype)) + "; expected F32, F16 or BF16");
}

/// "model.layers.7." of "model.layers.7.mlp.up_proj.weight"; empty for what is in no layer.
std::string layer_of(const std::string& name) {
  constexpr std::string_view kLayers = "layers.";
  const std::size_t at = name.find(kLayers);
  if (at == std::string::npos) return "";
  const std::size_t end = name.find('.', at + kLayers.size());
  return end == std::string::npos ? "" : name.substr(0, end + 1);
}

std::string network_of(const std::string& layer) {
  return layer.substr(0, layer.find_last_of('.', layer.size() - 2));
}

/// A packed weight that is quantised here; a copy in the host's memory, since it takes long.
Weight packed_copy(const Weight& weight, WeightFormat format) {
  const PackedLayout layout(format, weight.shape);
  const auto records = std::make_shared<Tensor>(
      Tensor::host(DType::i8, {static_cast<std::int64_t>(layout.size_bytes())}));
  const auto threads = std::max<std::int64_t>(1, std::thread::hardware_concurrency());
  std::vector<std::future<void>> parts;
  for (std::int64_t part = 0; part < threads; ++part) {
    parts.push_back(std::async(std::launch::async, [&, part] {
      for (std::int64_t panel = part; panel < layout.panels; panel += threads) {
        const auto offset = static_cast<std::size_t>(panel) * layout.record_bytes();
        pack_panel(layout, weight, panel, records->bytes() + offset);
      }
    }));
  }
  for (std::future<void>& part : parts) part.get();
  Weight packed = weight;
  packed.dtype = DType::i8;
  packed.data = records->bytes();
  packed.owner = records;
  packed.format = format;
  packed.packed_bytes = layout.size_bytes();
  return packed;
}

void require_whole(const Weight& weight) {
  const std::size_t expected = PackedLayout(weight.format, weight.shape).size_bytes();
  if (weight.packed_bytes == expected) return;
  throw Error(ErrorKind::corrupt_file, "weight " + weight.name + " " +
                                           ernie_image::to_string(weight.shape) + " is packed in " +
                                           std::to_string(weight.packed_bytes) +
                                           " bytes, expected " + std::to_string(expected));
}

WeightForm form_of(const Weight& weight, WeightUse use, Quantization quantization) {
  if (use == WeightUse::vector) return WeightForm::widened;
  if (use == WeightUse::conv2d) return WeightForm::filters;
  if (weight.format == WeightFormat::packed_int4) return WeightForm::int4;
  if (weight.format == WeightFormat::packed_int8 || quantization == Quantization::int8)
    return WeightForm::int8_rows;
  return WeightForm::plain;
}

}  // namespace

WeightGroup::~WeightGroup() {
  if (block.data() == nullptr) return;
  cudaSetDevice(device->index());
  cudaStreamSynchronize(queue->get());  // queued work may read it
}

WeightStore::WeightStore(Stream& stream, Offload offload)
    : stream_(stream), offload_(offload), layers_(std::make_unique<LayerStream>(stream)) {}

WeightStore::~WeightStore() = default;

WeightHandle WeightStore::prepare(const Weight& weight, WeightUse use, Quantization quantization) {
  const auto prepared = std::make_shared<CudaWeight>();
  prepared->source = weight;
  if (weight.data == nullptr) return prepared;
  if (weight.format == WeightFormat::plain) {
    require_supported(weight);
    if (quantization == Quantization::int4 && use == WeightUse::linear)
      prepared->source = packed_copy(weight, WeightFormat::packed_int4);
  } else {
    require_whole(weight);
  }
  prepared->form = form_of(prepared->source, use, quantization);
  if (use != WeightUse::embedding) place(*prepared);
  return prepared;
}

void WeightStore::place(CudaWeight& weight) {
  const std::string layer = layer_of(weight.source.name);
  const bool continues = open_ != nullptr && !layer.empty() && open_->layer == layer &&
                         open_->block.data() == nullptr && !open_->chain->decided;
  if (!continues) start_group(layer);
  weight.group = open_;
  weight.entry = open_->entries.size();
  open_->entries.push_back({weight.source, weight.form, open_->bytes});
  const std::size_t size = form_bytes(weight.source, weight.form);
  open_->bytes += (size + kAlignment - 1) / kAlignment * kAlignment;
  open_->scratch_bytes =
      std::max(open_->scratch_bytes, form_scratch_bytes(weight.source, weight.form));
}

void WeightStore::start_group(const std::string& layer) {
  const auto group = std::make_shared<WeightGroup>(stream_.shared_device(), stream_.shared_queue());
  group->layer = layer;
  if (!layer.empty()) {
    const bool same_network = open_ != nullptr && open_->chain != nullptr &&
                              !open_->chain->decided &&
                              network_of(open_->layer) == network_of(layer);
    group->chain = same_network ? open_->chain : std::make_shared<LayerChain>();
    group->index = group->chain->layers.size();
    group->chain->layers.push_back(group);
  }
  std::erase_if(groups_, [](const auto& known) { return known.expired(); });
  groups_.push_back(group);
  open_ = group;
}

std::byte* WeightStore::resident(const PreparedWeight& prepared) {
  const CudaWeight& weight = as_cuda_weight(prepared);
  assert(weight.group != nullptr);
  open_ = nullptr;  // loading has ended
  WeightGroup& group = *weight.group;
  stream_.device().bind();
  std::byte* base = nullptr;
  if (is_streamed(group)) {
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
  const CudaWeight& weight = as_cuda_weight(prepared);
  const DType dtype = weight.form == WeightForm::widened ? DType::f32 : weight.source.dtype;
  return {dtype, weight.source.shape, resident(prepared), weight.group};
}

Int8Rows WeightStore::int8_rows(const PreparedWeight& prepared) {
  const CudaWeight& weight = as_cuda_weight(prepared);
  const std::int64_t rows = weight.source.shape[0], depth = weight.source.shape[1];
  std::byte* const data = resident(prepared);
  const Int8Layout layout(rows, depth);
  return {{DType::i8, {rows, padded_depth(depth)}, data, weight.group},
          {DType::f32, {rows}, data + layout.scale_offset, weight.group}};
}

/// Decided for all layers of a network when the first is used.
bool WeightStore::is_streamed(const WeightGroup& group) {
  if (group.chain == nullptr) return false;
  LayerChain& chain = *group.chain;
  if (chain.decided) return chain.streamed;
  chain.decided = true;
  chain.streamed = offload_ == Offload::layers;
  if (offload_ == Offload::automatic) {
    std::size_t bytes = 0;
    for (const auto& layer : chain.layers) {
      if (const auto live = layer.lock()) bytes += live->bytes;
    }
    const std::size_t reserve = std::min(kActivationReserve, stream_.device().total_bytes() / 8);
    make_room(bytes + reserve);
    chain.streamed = stream_.device().free_bytes() < bytes + reserve;
  }
  return chain.streamed;
}

void WeightStore::load(WeightGroup& group) {
  require_not_recording(stream_.queue(), "bringing weights to the card");
  if (scratch_.bytes() < group.scratch_bytes) {
    stream_.queue().synchronize();
    scratch_ = DeviceBlock();
    make_room(group.scratch_bytes);
    scratch_ = DeviceBlock(stream_.device(), group.scratch_bytes);
  }
  make_room(group.bytes);
  group.block = DeviceBlock(stream_.device(), group.bytes);
  fill(group, group.block.data(), scratch_.data(), stream_.staging(), stream_.queue());
}

void WeightStore::make_room(std::size_t bytes) {
  if (offload_ == Offload::none || stream_.device().free_bytes() >= bytes) return;
  stream_.memory().release_cache();
  evict(true, bytes);
}

/// Until so much is free.
void WeightStore::evict(bool only_finished, std::size_t wanted_free) {
  stream_.queue().synchronize();
  for (const auto& group : live_groups()) {
    if (stream_.device().free_bytes() >= wanted_free) return;
    if (!only_finished || group->stage_done) group->block = DeviceBlock();
  }
}

std::vector<std::shared_ptr<WeightGroup>> WeightStore::live_groups() {
  std::vector<std::shared_ptr<WeightGroup>> live;
  for (const auto& known : groups_) {
    if (auto group = known.lock()) live.push_back(std::move(group));
  }
  return live;
}

void WeightStore::end_stage() {
  for (const auto& group : live_groups()) group->stage_done = true;
  layers_->release();
  streams_ = false;
  stream_.queue().synchronize();
  scratch_ = DeviceBlock();
  if (offload_ == Offload::encoder || offload_ == Offload::layers)
    evict(true, stream_.device().total_bytes());
}

}  // namespace ernie_image::cuda
