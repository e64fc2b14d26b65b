#include "backend/ascend/ascend_backend.h"

#include <cassert>
#include <utility>

#include "backend/ascend/attention.h"
#include "backend/ascend/operations.h"
#include "backend/card/card_backend.h"
#include "backend/card/option.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

using ascend::AttentionForm;

AttentionForm attention_form(const std::string& text) {
  return card::option<AttentionForm, 4>("--ascend-attention", text,
                                        {{{"auto", AttentionForm::automatic},
                                          {"lengths", AttentionForm::lengths},
                                          {"mask", AttentionForm::mask},
                                          {"composed", AttentionForm::composed}}});
}

const card::WeightForms kForms;

class AscendBackend : public card::CardBackend<ascend::Stream> {
 public:
  explicit AscendBackend(const AscendOptions& options)
      : CardBackend(options.device, options.offload, kForms),
        attention_(stream_, attention_form(options.attention)) {}
  AscendBackend(const AscendBackend& rehearsed, const Ledger& ledger, std::uint64_t room_bytes,
                const std::string& offload)
      : CardBackend(rehearsed, ledger, room_bytes, offload, kForms),
        attention_(stream_, rehearsed.attention_.form()) {
    stream_.expect_workspace(rehearsed.stream_.workspace_bytes());
  }
  std::unique_ptr<Backend> rehearsal(const Ledger& ledger, std::uint64_t room_bytes,
                                     const std::string& offload) const override {
    return std::make_unique<AscendBackend>(*this, ledger, room_bytes, offload);
  }

  void release_cache() override {
    attention_.release_masks();
    CardBackend::release_cache();
  }
  WeightHandle prepare(const Weight& weight, WeightUse use, Quantization quantization) override {
    if (quantization != Quantization::none || weight.format != WeightFormat::plain) {
      throw Error(ErrorKind::unsupported, name() +
                                              ": quantised weights are not supported; take a model "
                                              "in the released format, without --quant");
    }
    return weights_.prepare(weight, card::plain_form(use));
  }

  // ---- dense layers ------------------------------------------------------------------------

  Tensor linear(const Tensor& x, const PreparedWeight& weight,
                const PreparedWeight* bias) override {
    require_activation("linear", x);
    const Tensor offsets = bias == nullptr ? Tensor() : weights_.tensor(*bias);
    return ascend::linear(stream_, x, weights_.tensor(weight), offsets);
  }

  // ---- norms and element-wise --------------------------------------------------------------

  Tensor rms_norm(const Tensor& x, const PreparedWeight& weight, float eps) override {
    require_activation("rms_norm", x);
    return ascend::rms_norm(stream_, x, weights_.tensor(weight), eps);
  }
  Tensor rms_norm_modulate(const Tensor& x, const PreparedWeight& weight, float eps, Chunk scale,
                           Chunk shift) override {
    require_activation("rms_norm_modulate", x);
    return ascend::rms_norm_modulate(stream_, x, weights_.tensor(weight), eps, scale, shift);
  }
  Tensor layer_norm_modulate(const Tensor& x, float eps, Chunk scale, Chunk shift) override {
    require_activation("layer_norm_modulate", x);
    return ascend::layer_norm_modulate(stream_, x, eps, scale, shift);
  }
  Tensor norm_rope(const Tensor& x, const PreparedWeight* norm_weight, float eps,
                   const RotaryTable& rotary) override {
    require_activation("norm_rope", x);
    const Tensor weight = norm_weight == nullptr ? Tensor() : weights_.tensor(*norm_weight);
    return ascend::norm_rope(stream_, x, weight, eps, rotary);
  }
  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionMask& mask,
                   float scale) override {
    require_activation("attention", q);
    return attention_(q, k, v, mask, scale);
  }
  Tensor gelu_mul(const Tensor& gate, const Tensor& up) override {
    require_activation("gelu_mul", gate);
    return ascend::gelu_mul(stream_, gate, up);
  }
  Tensor silu_mul(const Tensor& gate, const Tensor& up) override {
    require_activation("silu_mul", gate);
    return ascend::silu_mul(stream_, gate, up);
  }
  Tensor gated_add(const Tensor& x, Chunk gate, const Tensor& y) override {
    require_activation("gated_add", x);
    return ascend::gated_add(stream_, x, gate, y);
  }
  Tensor add(const Tensor& a, const Tensor& b) override {
    require_activation("add", a);
    return ascend::add(stream_, a, b);
  }
  Tensor silu(const Tensor& x) override {
    require_activation("silu", x);
    return ascend::silu(stream_, x);
  }
  Tensor cast(const Tensor& x, DType dtype) override {
    require_activation("cast", x);
    return ascend::cast(stream_, x, dtype);
  }

  // ---- layout ------------------------------------------------------------------------------

  Tensor concat_rows(const Tensor& a, const Tensor& b) override {
    return ascend::concat_rows(stream_, a, b);
  }
  Tensor slice_rows(const Tensor& x, std::int64_t begin, std::int64_t count) override {
    return ascend::slice_rows(stream_, x, begin, count);
  }
  void write_rows(Tensor& target, std::int64_t begin, const Tensor& rows) override {
    assert(target.dtype() == rows.dtype());
    if (rows.size() == 0) return;
    const Tensor part = target.slice(begin, rows.dim(0));
    const Shape flat = {rows.size()};
    stream_.call(ascend::cann().InplaceCopy, part.reshaped(flat), rows.reshaped(flat));
  }
  Tensor transpose_rows(const Tensor& x) override { return ascend::transpose_rows(stream_, x); }

  // ---- images ------------------------------------------------------------------------------

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
  Tensor group_norm(const Tensor& x, const PreparedWeight& weight, const PreparedWeight& bias,
                    int groups, float eps, Activation activation) override {
    require_activation("group_norm", x);
    const Tensor offsets = weights_.tensor(bias);
    return ascend::group_norm(stream_, x, weights_.tensor(weight), offsets, groups, eps,
                              activation);
  }
  Tensor upsample_nearest2x(const Tensor& x) override {
    require_activation("upsample_nearest2x", x);
    return ascend::upsample_nearest2x(stream_, x);
  }

 private:
  ascend::Attention attention_;
};

}  // namespace

std::unique_ptr<Backend> make_ascend_backend(const AscendOptions& options) {
  return std::make_unique<AscendBackend>(options);
}

AscendInfo ascend_info() {
  const ascend::Cann& cann = ascend::cann();
  AscendInfo info;
  info.problem = cann.problem;
  info.libraries = cann.libraries;
  if (cann.libraries.empty()) return info;
  for (const ascend::OperationState& state : ascend::operation_states(cann))
    info.operations.push_back({state.name, state.present, state.alternative});
  try {
    for (int i = 0; i < ascend::device_count(); ++i) {
      const ascend::Device card(i);
      card.bind();
      const char* const soc = cann.aclrtGetSocName();
      info.cards.push_back({i, soc == nullptr ? "" : soc, card.free_bytes(), card.total_bytes()});
    }
  } catch (const Error& error) {
    info.problem = error.what();  // a driver that does not fit, a card that is broken
  }
  if (info.problem.empty() && info.cards.empty()) info.problem = "CANN is there, but no card";
  return info;
}

}  // namespace ernie_image
