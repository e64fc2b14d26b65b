#include "backend/ascend/ascend_backend.h"

#include <array>
#include <cassert>
#include <cstring>
#include <utility>

#include "backend/ascend/attention.h"
#include "backend/ascend/operations.h"
#include "backend/ascend/upload.h"
#include "backend/ascend/weights.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

using ascend::AttentionForm;
using ascend::Offload;

template <typename Value, std::size_t N>
Value option(const char* flag, const std::string& text,
             const std::array<std::pair<const char*, Value>, N>& choices) {
  std::string names;
  for (const auto& [name, value] : choices) {
    if (text == name) return value;
    names += std::string(names.empty() ? "" : ", ") + name;
  }
  throw Error(ErrorKind::invalid_argument,
              std::string(flag) + ": \"" + text + "\" is none of " + names);
}

AttentionForm attention_form(const std::string& text) {
  return option<AttentionForm, 4>("--ascend-attention", text,
                                  {{{"auto", AttentionForm::automatic},
                                    {"lengths", AttentionForm::lengths},
                                    {"mask", AttentionForm::mask},
                                    {"composed", AttentionForm::composed}}});
}

Offload offload_mode(const std::string& text) {
  return option<Offload, 4>("--offload", text,
                            {{{"auto", Offload::automatic},
                              {"none", Offload::none},
                              {"encoder", Offload::encoder},
                              {"layers", Offload::layers}}});
}

class AscendBackend : public Backend {
 public:
  explicit AscendBackend(const AscendOptions& options)
      : stream_(options.device),
        weights_(stream_, offload_mode(options.offload)),
        attention_(stream_, attention_form(options.attention)) {}

  std::string name() const override { return stream_.name(); }
  void set_cancel_token(std::shared_ptr<const CancelToken> token) override {
    stream_.set_cancel_token(std::move(token));
  }
  std::size_t peak_memory_bytes() const override { return stream_.memory().peak_bytes(); }
  void reset_peak_memory() override {
    stream_.memory().reset_peak();
    stream_.device().reset_peak();
  }
  std::optional<DeviceMemory> device_memory() const override {
    const ascend::Device& device = stream_.device();
    device.bind();
    return DeviceMemory{device.free_bytes(), device.total_bytes(), device.held_bytes(),
                        device.peak_bytes()};
  }
  void release_cache() override {
    attention_.release_masks();
    stream_.memory().release_cache();
  }
  void begin_stage(std::uint64_t activation_bytes) override {
    weights_.begin_stage(activation_bytes);
  }
  void end_stage() override { weights_.end_stage(); }

  // ---- memory ------------------------------------------------------------------------------

  Tensor empty(DType dtype, Shape shape) override { return stream_.empty(dtype, std::move(shape)); }
  Tensor upload(const Tensor& host) override { return ascend::upload(stream_, host); }
  Tensor download(const Tensor& tensor) override { return ascend::download(stream_, tensor); }
  WeightHandle prepare(const Weight& weight, WeightUse use, Quantization quantization) override {
    if (quantization != Quantization::none || weight.format != WeightFormat::plain) {
      throw Error(ErrorKind::unsupported, name() +
                                              ": quantised weights are not supported; take a model "
                                              "in the released format, without --quant");
    }
    return weights_.prepare(weight, use);
  }

  // ---- dense layers ------------------------------------------------------------------------

  Tensor linear(const Tensor& x, const PreparedWeight& weight,
                const PreparedWeight* bias) override {
    require_activation("linear", x);
    const Tensor offsets = bias == nullptr ? Tensor() : weights_.resident(*bias);
    return ascend::linear(stream_, x, weights_.resident(weight), offsets);
  }

  std::vector<Tensor> linear_together(
      const Tensor& x, std::initializer_list<const PreparedWeight*> weights) override {
    std::vector<Tensor> results;
    for (const PreparedWeight* weight : weights) results.push_back(linear(x, *weight, nullptr));
    return results;
  }

  /// Rows are picked on the host, out of the mapped file: a table of 131072 x 3072 would be 800 MB
  /// of the card's memory, and a prompt needs a few rows.
  Tensor embedding(std::span<const std::int32_t> ids, const PreparedWeight& table,
                   DType dtype) override {
    const Weight& source = static_cast<const ascend::AscendWeight&>(table).source;
    Tensor rows = Tensor::host(source.dtype, {std::ssize(ids), source.shape[1]});
    const std::size_t row_bytes = static_cast<std::size_t>(source.shape[1]) * size_of(source.dtype);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      std::memcpy(rows.bytes() + i * row_bytes,
                  source.data + static_cast<std::size_t>(ids[i]) * row_bytes, row_bytes);
    }
    return upload(rows.dtype() == dtype ? rows : round_to(to_float(rows), dtype));
  }

  // ---- norms and element-wise --------------------------------------------------------------

  Tensor rms_norm(const Tensor& x, const PreparedWeight& weight, float eps) override {
    require_activation("rms_norm", x);
    return ascend::rms_norm(stream_, x, weights_.resident(weight), eps);
  }
  Tensor rms_norm_modulate(const Tensor& x, const PreparedWeight& weight, float eps, Chunk scale,
                           Chunk shift) override {
    require_activation("rms_norm_modulate", x);
    return ascend::rms_norm_modulate(stream_, x, weights_.resident(weight), eps, scale, shift);
  }
  Tensor layer_norm_modulate(const Tensor& x, float eps, Chunk scale, Chunk shift) override {
    require_activation("layer_norm_modulate", x);
    return ascend::layer_norm_modulate(stream_, x, eps, scale, shift);
  }
  Tensor norm_rope(const Tensor& x, const PreparedWeight* norm_weight, float eps,
                   const RotaryTable& rotary) override {
    require_activation("norm_rope", x);
    const Tensor weight = norm_weight == nullptr ? Tensor() : weights_.resident(*norm_weight);
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
    const Shape& shape = weight.shape();  // [C_out, C_in, kh, kw]
    if (shape[2] != shape[3] || (shape[2] != 1 && shape[2] != 3))
      refuse("conv2d", "a kernel " + to_string(shape), "a square one of 1 or 3");
    Tensor offsets = weights_.resident(bias);
    // A bias that the file has in bf16 is the same number in bf16: no reason to compute in fp32.
    if (static_cast<const ascend::AscendWeight&>(bias).source.dtype == x.dtype())
      offsets = ascend::cast(stream_, offsets, x.dtype());
    return ascend::conv2d(stream_, x, weights_.resident(weight), offsets);
  }
  Tensor group_norm(const Tensor& x, const PreparedWeight& weight, const PreparedWeight& bias,
                    int groups, float eps, Activation activation) override {
    require_activation("group_norm", x);
    const Tensor offsets = weights_.resident(bias);
    return ascend::group_norm(stream_, x, weights_.resident(weight), offsets, groups, eps,
                              activation);
  }
  Tensor upsample_nearest2x(const Tensor& x) override {
    require_activation("upsample_nearest2x", x);
    return ascend::upsample_nearest2x(stream_, x);
  }

 private:
  [[noreturn]] void refuse(const std::string& operation, const std::string& found,
                           const std::string& expected) const {
    throw Error(ErrorKind::unsupported,
                name() + ": " + operation + " of " + found + "; expected " + expected);
  }
  void require_activation(const char* operation, const Tensor& x) const {
    if (x.dtype() != DType::f32 && x.dtype() != DType::bf16)
      refuse(operation, std::string(dtype_name(x.dtype())) + " " + to_string(x.shape()),
             "F32 or BF16");
  }

  ascend::Stream stream_;
  ascend::WeightStore weights_;
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
