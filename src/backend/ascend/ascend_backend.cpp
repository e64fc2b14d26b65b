#include "backend/ascend/ascend_backend.h"

#include <utility>

#include "backend/ascend/attention.h"
#include "backend/ascend/operations.h"
#include "backend/card/card_backend.h"
#include "backend/card/option.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

using ascend::AttentionForm;

constexpr card::Choices<AttentionForm, 4> kAttentionForms = {
    {{"auto", AttentionForm::automatic},
     {"lengths", AttentionForm::lengths},
     {"mask", AttentionForm::mask},
     {"composed", AttentionForm::composed}}};

const card::WeightForms kForms;

class AscendBackend : public card::CardBackend<ascend::Operations> {
 public:
  explicit AscendBackend(const AscendOptions& options)
      : CardBackend(options.device, options.offload, kForms),
        attention_(stream_,
                   card::option("--ascend-attention", options.attention, kAttentionForms)) {}

  void release_cache() override {
    attention_.release_masks();
    CardBackend::release_cache();
  }
  WeightHandle prepare(const Weight& weight, WeightUse use, Quantization quantization) override {
    if (quantization != Quantization::none || is_packed(weight.format)) {
      throw Error(ErrorKind::unsupported, name() +
                                              ": quantised weights are not supported; take a model "
                                              "in the released format, without --quant");
    }
    return weights_.prepare(weight, card::plain_form(use));
  }

  Tensor linear(const Tensor& x, const PreparedWeight& weight,
                const PreparedWeight* bias) override {
    require_activation("linear", x);
    const Tensor offsets = bias == nullptr ? Tensor() : weights_.tensor(*bias);
    return ascend::linear(stream_, x, weights_.tensor(weight), offsets);
  }

  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionMask& mask,
                   float scale) override {
    require_activation("attention", q);
    return attention_(q, k, v, mask, scale);
  }
  Tensor conv2d(const Tensor& x, const PreparedWeight& weight,
                const PreparedWeight& bias) override {
    require_activation("conv2d", x);
    require_square(weight.shape());
    Tensor offsets = weights_.tensor(bias);
    // A bias that the file has in bf16 is the same number in bf16: no reason to compute in fp32.
    if (card::as_card_weight(bias).source.dtype == x.dtype())
      offsets = ascend::cast(stream_, offsets, x.dtype());
    return ascend::conv2d(stream_, x, weights_.tensor(weight), offsets);
  }

 private:
  ascend::Attention attention_;
};

}  // namespace

std::unique_ptr<Backend> make_ascend_backend(const AscendOptions& options) {
  return std::make_unique<AscendBackend>(options);
}

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

const DeviceKind& ascend_device() {
  static const DeviceKind kind = {
      .name = "ascend",
      .has_cards = true,
      .options = {card::offload_option(),
                  {"ascend_attention", card::words_of(kAttentionForms),
                   "how padding reaches Ascend's attention: auto (default), lengths, mask (dense), "
                   "or composed of plain operations"}},
      // What the fused attention asks for at least; its share beyond that, and that of
      // convolutions, only a card can tell.
      .habits = {.workspace_bytes = std::uint64_t{16} << 20, .widens_biased_layers = true},
      .info = ascend_info,
      .make = [](int card, const BackendOptions& options) {
        const DeviceOptions& chosen = options.device_options;
        return make_ascend_backend({card, chosen.at("ascend_attention"), chosen.at("offload")});
      }};
  return kind;
}

}  // namespace ernie_image
