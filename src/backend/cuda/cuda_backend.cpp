#include <cassert>
#include <utility>

#include "backend/card/card_backend.h"
#include "backend/card/option.h"
#include "backend/cuda/attention.h"
#include "backend/cuda/convolution.h"
#include "backend/cuda/dense.h"
#include "backend/cuda/graph.h"
#include "backend/cuda/make_backend.h"
#include "backend/cuda/operations.h"
#include "backend/cuda/weights.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

using card::WeightForm;
using cuda::AttentionForm;

AttentionForm attention_form(const std::string& text) {
  return card::option<AttentionForm, 3>("--cuda-attention", text,
                                        {{{"auto", AttentionForm::automatic},
                                          {"cudnn", AttentionForm::cudnn},
                                          {"own", AttentionForm::own}}});
}

const cuda::WeightForms kForms;

class CudaBackend : public card::CardBackend<cuda::Stream> {
 public:
  explicit CudaBackend(const CudaOptions& options)
      : CardBackend(options.device, options.offload, kForms),
        products_(stream_),
        attention_(stream_, products_, attention_form(options.attention)),
        convolution_(stream_, products_),
        recorder_(stream_) {}
  CudaBackend(const CudaBackend& rehearsed, const Ledger& ledger, std::uint64_t room_bytes,
              const std::string& offload)
      : CardBackend(rehearsed, ledger, room_bytes, offload, kForms),
        products_(stream_),
        attention_(stream_, products_, rehearsed.attention_.form()),
        convolution_(stream_, products_),
        recorder_(stream_) {}
  std::unique_ptr<Backend> rehearsal(const Ledger& ledger, std::uint64_t room_bytes,
                                     const std::string& offload) const override {
    return std::make_unique<CudaBackend>(*this, ledger, room_bytes, offload);
  }

  /// Weights may move, of which recorded steps know the addresses.
  void begin_stage(const StageRoom& room) override {
    recorder_.release();
    CardBackend::begin_stage(room);
  }
  void end_stage() override {
    recorder_.release();
    attention_.release();
    CardBackend::end_stage();
  }
  Tensor repeat(std::span<const Tensor> inputs, std::span<const Tensor> constants,
                const Step& step) override {
    return recorder_(inputs, constants, step, [this] { return !weights_.streams(); });
  }

  WeightHandle prepare(const Weight& weight, WeightUse use, Quantization quantization) override {
    return cuda::prepare(weights_, weight, use, quantization);
  }

  // ---- dense layers ------------------------------------------------------------------------

  Tensor linear(const Tensor& x, const PreparedWeight& weight,
                const PreparedWeight* bias) override {
    require_activation("linear", x);
    const Tensor offsets = bias == nullptr ? Tensor() : weights_.tensor(*bias);
    const Shape& shape = weight.shape();
    switch (card::as_card_weight(weight).form) {
      case WeightForm::int8_rows:
        return cuda::linear_int8(stream_, products_, x, cuda::int8_rows(weights_, weight), shape,
                                 offsets);
      case WeightForm::int4:
        return cuda::linear_int4(stream_, products_, x, weights_.resident(weight), shape, offsets);
      default:
        return cuda::linear(stream_, products_, x, weights_.tensor(weight), offsets);
    }
  }

  // ---- norms and element-wise --------------------------------------------------------------

  Tensor rms_norm(const Tensor& x, const PreparedWeight& weight, float eps) override {
    require_activation("rms_norm", x);
    return cuda::rms_norm(stream_, x, weights_.tensor(weight), eps);
  }
  Tensor rms_norm_modulate(const Tensor& x, const PreparedWeight& weight, float eps, Chunk scale,
                           Chunk shift) override {
    require_activation("rms_norm_modulate", x);
    return cuda::rms_norm_modulate(stream_, x, weights_.tensor(weight), eps, scale, shift);
  }
  Tensor layer_norm_modulate(const Tensor& x, float eps, Chunk scale, Chunk shift) override {
    require_activation("layer_norm_modulate", x);
    return cuda::layer_norm_modulate(stream_, x, eps, scale, shift);
  }
  Tensor norm_rope(const Tensor& x, const PreparedWeight* norm_weight, float eps,
                   const RotaryTable& rotary) override {
    require_activation("norm_rope", x);
    const Tensor weight = norm_weight == nullptr ? Tensor() : weights_.tensor(*norm_weight);
    return cuda::norm_rope(stream_, x, weight, eps, rotary);
  }
  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionMask& mask,
                   float scale) override {
    require_activation("attention", q);
    return attention_(q, k, v, mask, scale);
  }
  Tensor gelu_mul(const Tensor& gate, const Tensor& up) override {
    require_activation("gelu_mul", gate);
    return cuda::gelu_mul(stream_, gate, up);
  }
  Tensor silu_mul(const Tensor& gate, const Tensor& up) override {
    require_activation("silu_mul", gate);
    return cuda::silu_mul(stream_, gate, up);
  }
  Tensor gated_add(const Tensor& x, Chunk gate, const Tensor& y) override {
    require_activation("gated_add", x);
    return cuda::gated_add(stream_, x, gate, y);
  }
  Tensor add(const Tensor& a, const Tensor& b) override {
    require_activation("add", a);
    return cuda::add(stream_, a, b);
  }
  Tensor silu(const Tensor& x) override {
    require_activation("silu", x);
    return cuda::silu(stream_, x);
  }
  Tensor cast(const Tensor& x, DType dtype) override {
    require_activation("cast", x);
    return cuda::cast(stream_, x, dtype);
  }

  // ---- layout ------------------------------------------------------------------------------

  Tensor concat_rows(const Tensor& a, const Tensor& b) override {
    return cuda::concat_rows(stream_, a, b);
  }
  Tensor slice_rows(const Tensor& x, std::int64_t begin, std::int64_t count) override {
    return cuda::slice_rows(stream_, x, begin, count);
  }
  void write_rows(Tensor& target, std::int64_t begin, const Tensor& rows) override {
    assert(target.dtype() == rows.dtype());
    if (rows.size() == 0) return;
    stream_.begin_call();
    stream_.copy(target.slice(begin, rows.dim(0)).bytes(), rows.bytes(), rows.size_bytes(),
                 "write_rows");
  }
  Tensor transpose_rows(const Tensor& x) override {
    require_activation("transpose_rows", x);
    return cuda::transpose_rows(stream_, x);
  }

  // ---- images ------------------------------------------------------------------------------

  Tensor conv2d(const Tensor& x, const PreparedWeight& weight,
                const PreparedWeight& bias) override {
    require_activation("conv2d", x);
    require_square(weight.shape());
    const Tensor offsets = weights_.tensor(bias);
    return convolution_(x, weights_.tensor(weight), offsets, weight.shape()[2]);
  }
  Tensor group_norm(const Tensor& x, const PreparedWeight& weight, const PreparedWeight& bias,
                    int groups, float eps, Activation activation) override {
    require_activation("group_norm", x);
    const Tensor offsets = weights_.tensor(bias);
    return cuda::group_norm(stream_, x, weights_.tensor(weight), offsets, groups, eps, activation);
  }
  Tensor upsample_nearest2x(const Tensor& x) override {
    require_activation("upsample_nearest2x", x);
    return cuda::upsample_nearest2x(stream_, x);
  }

 private:
  cuda::Products products_;
  cuda::Attention attention_;
  cuda::Convolution convolution_;
  cuda::StepRecorder recorder_;
};

}  // namespace

namespace cuda {

std::unique_ptr<Backend> make_backend(const CudaOptions& options) {
  return std::make_unique<CudaBackend>(options);
}

CudaInfo device_info() {
  CudaInfo info;
  info.problem = device_problem();
  info.libraries = library_versions();
  for (int i = 0; i < device_count(); ++i) {
    cudaDeviceProp properties{};
    require(cudaGetDeviceProperties(&properties, i), "cudaGetDeviceProperties");
    std::size_t free = 0, total = 0;
    require(cudaSetDevice(i), "cudaSetDevice " + std::to_string(i));
    require(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    info.cards.push_back({i, properties.name, capability_of(i), free, total});
  }
  return info;
}

}  // namespace cuda
}  // namespace ernie_image
