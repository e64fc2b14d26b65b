#include "backend/ascend/ascend_backend.h"

#include <algorithm>
#include <utility>

#include "backend/ascend/attention.h"
#include "backend/ascend/connect.h"
#include "backend/ascend/operations.h"
#include "backend/ascend/weights.h"
#include "backend/card/card_backend.h"
#include "backend/card/option.h"
#include "backend/parallel.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

const ascend::WeightForms kRows(false), kBlocks(true);

constexpr card::Choices<bool, 2> kInBlocks = {{{"nd", false}, {"nz", true}}};

const ascend::WeightForms& forms_of(const std::string& layout) {
  return card::option("--ascend-int8", layout, kInBlocks) ? kBlocks : kRows;
}

constexpr card::Choices<std::int8_t, 2> kConvolutionMath = {
    {{"fp32", ascend::kKeepDType}, {"hf32", ascend::kHf32}}};

class AscendBackend : public card::CardBackend<ascend::Operations> {
 public:
  explicit AscendBackend(const AscendOptions& options)
      : CardBackend(options.device, options.offload, options.gelu, forms_of(options.int8)),
        forms_(forms_of(options.int8)),
        attention_(stream_,
                   card::option("--ascend-attention", options.attention, ascend::kAttentionForms),
                   ascend::AttentionTimings::of_this_machine()),
        convolution_math_(card::option("--ascend-conv", options.convolution, kConvolutionMath)) {
    stream_.trust_fused_group_norm(ascend::fused_group_norm_works(stream_));
    stream_.memory().release_cache();
    stream_.derived().clear();
  }
  AscendBackend(const AscendBackend& rehearsed, const Ledger& ledger, std::uint64_t room_bytes,
                const std::string& offload)
      : CardBackend(rehearsed, ledger, room_bytes, offload, rehearsed.forms_),
        forms_(rehearsed.forms_),
        attention_(stream_, rehearsed.attention_.form(), rehearsed.attention_.timings()),
        convolution_math_(rehearsed.convolution_math_) {}
  std::unique_ptr<Backend> rehearsal(const Ledger& ledger, std::uint64_t room_bytes,
                                     const std::string& offload) const override {
    return std::make_unique<AscendBackend>(*this, ledger, room_bytes, offload);
  }

  void begin_stage(const StageRoom& room) override {
    stream_.derived().clear();
    CardBackend::begin_stage(room);
  }
  void end_stage() override {
    stream_.derived().clear();
    stream_.release_workspace();
    CardBackend::end_stage();
  }
  void release_cache() override {
    attention_.release_masks();
    stream_.derived().clear();
    CardBackend::release_cache();
  }
  WeightHandle prepare(const Weight& weight, WeightUse use, Quantization quantization) override {
    return ascend::prepare(weights_, forms_, weight, use, quantization);
  }

  Tensor linear(const Tensor& x, const PreparedWeight& weight,
                const PreparedWeight* bias) override {
    require_activation("linear", x);
    const bool is_quantised = ascend::is_int8(weight) && x.size() > 0;
    return multiplied(x, is_quantised ? ascend::quantized(stream_, x) : ascend::Int8Rows(), weight,
                      bias);
  }
  /// Rounds x once for all.
  std::vector<Tensor> linear_together(const Tensor& x,
                                      const std::vector<const PreparedWeight*>& weights) override {
    require_activation("linear_together", x);
    const bool is_quantised =
        x.size() > 0 && std::ranges::any_of(weights, [](const PreparedWeight* weight) {
          return ascend::is_int8(*weight);
        });
    const ascend::Int8Rows rounded =
        is_quantised ? ascend::quantized(stream_, x) : ascend::Int8Rows();
    std::vector<Tensor> results;
    for (const PreparedWeight* weight : weights)
      results.push_back(multiplied(x, rounded, *weight, nullptr));
    return results;
  }

  ascend::Stream& stream() { return stream_; }

  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionMask& mask,
                   float scale) override {
    require_activation("attention", q);
    return attention_(q, k, v, mask, scale);
  }
  Tensor conv2d(const Tensor& x, const PreparedWeight& weight,
                const PreparedWeight& bias) override {
    require_activation("conv2d", x);
    require_square(weight.shape());
    return ascend::conv2d(stream_, x, weights_.tensor(weight), weights_.tensor(bias), 1,
                          convolution_math_);
  }
  Tensor conv2d_stride2(const ImageBand& x, const PreparedWeight& weight,
                        const PreparedWeight& bias) override {
    require_activation("conv2d_stride2", x.rows);
    require_three(weight.shape());
    assert(x.above == nullptr && x.below == nullptr);
    return ascend::conv2d(stream_, x.rows, weights_.tensor(weight), weights_.tensor(bias), 2,
                          convolution_math_);
  }

 private:
  /// `rounded`: x, for weights of int8.
  Tensor multiplied(const Tensor& x, const ascend::Int8Rows& rounded, const PreparedWeight& weight,
                    const PreparedWeight* bias) {
    const Tensor offsets = bias == nullptr ? Tensor() : weights_.tensor(*bias);
    if (!ascend::is_int8(weight))
      return ascend::linear(stream_, x, weights_.tensor(weight), offsets);
    if (x.size() > 0) {
      return ascend::linear_int8(stream_, rounded, x.shape(), x.dtype(),
                                 ascend::int8_rows(weights_, forms_, weight), offsets);
    }
    Shape shape = x.shape();
    shape.back() = weight.shape()[0];
    return stream_.empty(x.dtype(), shape);
  }

  const ascend::WeightForms& forms_;
  ascend::Attention attention_;
  std::int8_t convolution_math_;
};

}  // namespace

std::unique_ptr<Backend> make_ascend_backend(const AscendOptions& options) {
  if (ascend::chip_generation() == ascend::ChipGeneration::first)
    throw Error(ErrorKind::unsupported, "ascend: " + ascend::notes_on(ascend::chip_name()).front());
  return std::make_unique<AscendBackend>(options);
}

namespace {

std::vector<DeviceTiming> remembered_timings() {
  std::vector<DeviceTiming> timings;
  for (const auto& [chip, release, shape, times] :
       ascend::AttentionTimings::of_this_machine().lines()) {
    timings.push_back(
        {"attention " + shape, chip + ", CANN " + release, times, ascend::fastest_of(times)});
  }
  return timings;
}

}  // namespace

DeviceInfo ascend_info() {
  const ascend::Cann& cann = ascend::cann();
  DeviceInfo info;
  info.operations.emplace();
  info.problem = cann.problem;
  info.libraries = cann.libraries;
  if (cann.libraries.empty()) return info;
  for (const ascend::OperationState& state : ascend::operation_states(cann))
    info.operations->push_back({state.name, state.present, state.alternative});
  if (!info.problem.empty()) return info;
  try {
    info.release = ascend::cann_version();
    info.timings = remembered_timings();
    info.notes = ascend::notes_on(ascend::chip_name());
    for (int i = 0; i < ascend::device_count(); ++i) {
      const ascend::Device card(i);
      card.bind();
      const char* const soc = cann.aclrtGetSocName();
      info.cards.push_back(
          {i, soc == nullptr ? "" : soc, 0, card.free_bytes(), card.total_bytes()});
    }
  } catch (const Error& error) {
    info.problem = error.what();  // a driver that does not fit, a card that is broken
  }
  if (info.problem.empty() && info.cards.empty()) info.problem = "CANN is there, but no card";
  return info;
}

namespace {

std::vector<std::unique_ptr<Collective>> connect_cards(std::span<Backend* const> cards) {
  std::vector<ascend::Stream*> streams;
  for (Backend* card : cards) streams.push_back(&static_cast<AscendBackend*>(card)->stream());
  return ascend::connect(streams);
}

}  // namespace

const DeviceKind& ascend_device() {
  static const DeviceKind kind = {
      .name = "ascend",
      .has_cards = true,
      .options = {card::offload_option(),
                  gelu_option(),
                  parallel_option(),
                  parallel_weights_option(),
                  {"ascend_conv", card::words_of(kConvolutionMath),
                   "convolutions of an fp32 run on Ascend: fp32 (default), or hf32, with 11 bits "
                   "of each factor, as torch_npu does",
                   false},
                  {"ascend_int8", card::words_of(kInBlocks),
                   "weights of int8 on Ascend: nd (default) in rows, or nz, in the blocks that its "
                   "matrix units read",
                   false},
                  {"ascend_attention", card::words_of(ascend::kAttentionForms),
                   "Ascend's attention: auto (default) times what is there once a shape, flash "
                   "(the training operator, with a mask), lengths or mask (the inference "
                   "operator, padding as key lengths or as a mask), or composed of plain "
                   "operations"}},
      .info = ascend_info,
      .make =
          [](int card, const BackendOptions& options) {
            const DeviceOptions& chosen = options.device_options;
            return make_ascend_backend({card, chosen.at("ascend_attention"), chosen.at("offload"),
                                        chosen.at("gelu"), chosen.at("ascend_conv"),
                                        chosen.at("ascend_int8")});
          },
      .connect = connect_cards};
  return kind;
}

}  // namespace ernie_image
