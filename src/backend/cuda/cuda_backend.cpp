#include <utility>

#include "backend/card/card_backend.h"
#include "backend/card/option.h"
#include "backend/cuda/attention.h"
#include "backend/cuda/connect.h"
#include "backend/cuda/convolution.h"
#include "backend/cuda/graph.h"
#include "backend/cuda/linear.h"
#include "backend/cuda/make_backend.h"
#include "backend/cuda/operations.h"
#include "backend/cuda/weights.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

using card::WeightForm;
using cuda::AttentionForm;

constexpr card::Choices<AttentionForm, 3> kAttentionForms = {{{"auto", AttentionForm::automatic},
                                                              {"cudnn", AttentionForm::cudnn},
                                                              {"own", AttentionForm::own}}};

const cuda::WeightForms kForms;

class CudaBackend : public card::CardBackend<cuda::Operations> {
 public:
  explicit CudaBackend(const CudaOptions& options)
      : CardBackend(options.device, options.offload, options.gelu, kForms),
        products_(stream_),
        attention_(stream_, products_,
                   card::option("--cuda-attention", options.attention, kAttentionForms)),
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

  cuda::Stream& stream() { return stream_; }

  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionMask& mask,
                   float scale) override {
    require_activation("attention", q);
    return attention_(q, k, v, mask, scale);
  }
  Tensor conv2d(const Tensor& x, const PreparedWeight& weight,
                const PreparedWeight& bias) override {
    require_activation("conv2d", x);
    require_square(weight.shape());
    const Tensor offsets = weights_.tensor(bias);
    return convolution_(x, weights_.tensor(weight), offsets, {weight.shape()[2]});
  }
  Tensor conv2d_stride2(const ImageBand& x, const PreparedWeight& weight,
                        const PreparedWeight& bias) override {
    require_activation("conv2d_stride2", x.rows);
    require_three(weight.shape());
    assert(x.above == nullptr && x.below == nullptr);
    const Tensor offsets = weights_.tensor(bias);
    return convolution_(x.rows, weights_.tensor(weight), offsets, {.kernel = 3, .stride = 2});
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

std::vector<std::unique_ptr<Collective>> connect_cards(std::span<Backend* const> cards) {
  std::vector<Stream*> streams;
  for (Backend* card : cards) streams.push_back(&static_cast<CudaBackend*>(card)->stream());
  return connect(streams);
}

DeviceInfo device_info() {
  DeviceInfo info;
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
