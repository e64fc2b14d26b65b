#include <array>
#include <cassert>
#include <cstring>
#include <utility>

#include "backend/cuda/attention.h"
#include "backend/cuda/convolution.h"
#include "backend/cuda/dense.h"
#include "backend/cuda/graph.h"
#include "backend/cuda/make_backend.h"
#include "backend/cuda/operations.h"
#include "backend/cuda/upload.h"
#include "backend/cuda/weights.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

using cuda::AttentionForm;
using cuda::CudaWeight;
using cuda::Offload;
using cuda::WeightForm;

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
  return option<AttentionForm, 3>("--cuda-attention", text,
                                  {{{"auto", AttentionForm::automatic},
                                    {"cudnn", AttentionForm::cudnn},
                                    {"own", AttentionForm::own}}});
}

Offload offload_mode(const std::string& text) {
  return option<Offload, 4>("--offload", text,
                            {{{"auto", Offload::automatic},
                              {"none", Offload::none},
                              {"encoder", Offload::encoder},
                              {"layers", Offload::layers}}});
}

class CudaBackend : public Backend {
 public:
  explicit CudaBackend(const CudaOptions& options)
      : stream_(options.device),
        weights_(stream_, offload_mode(options.offload)),
        products_(stream_),
        attention_(stream_, products_, attention_form(options.attention)),
        convolution_(stream_, products_),
        recorder_(stream_) {}

  std::string name() const override { return stream_.name(); }
  void set_cancel_token(std::shared_ptr<const CancelToken> token) override {
    stream_.set_cancel_token(std::move(token));
  }
  std::size_t peak_memory_bytes() const override { return stream_.memory().peak_bytes(); }
  void reset_peak_memory() override { stream_.memory().reset_peak(); }
  void release_cache() override { stream_.memory().release_cache(); }
  void end_stage() override {
    recorder_.release();
    attention_.release();
    weights_.end_stage();
  }
  Tensor repeat(std::span<const Tensor> inputs, std::span<const Tensor> constants,
                const Step& step) override {
    return recorder_(inputs, constants, step, [this] { return !weights_.streams(); });
  }

  // ---- memory ------------------------------------------------------------------------------

  Tensor empty(DType dtype, Shape shape) override { return stream_.empty(dtype, std::move(shape)); }
  Tensor upload(const Tensor& host) override { return cuda::upload(stream_, host); }
  Tensor download(const Tensor& tensor) override { return cuda::download(stream_, tensor); }
  WeightHandle prepare(const Weight& weight, WeightUse use, Quantization quantization) override {
    return weights_.prepare(weight, use, quantization);
  }

  // ---- dense layers ------------------------------------------------------------------------

  Tensor linear(const Tensor& x, const PreparedWeight& weight,
                const PreparedWeight* bias) override {
    require_activation("linear", x);
    const Tensor offsets = bias == nullptr ? Tensor() : weights_.tensor(*bias);
    const Shape& shape = weight.shape();
    switch (cuda::as_cuda_weight(weight).form) {
      case WeightForm::int8_rows:
        return cuda::linear_int8(stream_, products_, x, weights_.int8_rows(weight), shape, offsets);
      case WeightForm::int4:
        return cuda::linear_int4(stream_, products_, x, weights_.resident(weight), shape, offsets);
      default:
        return cuda::linear(stream_, products_, x, weights_.tensor(weight), offsets);
    }
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
    const Weight& source = cuda::as_cuda_weight(table).source;
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
    cuda::require(cudaMemcpyAsync(target.slice(begin, rows.dim(0)).bytes(), rows.bytes(),
                                  rows.size_bytes(), cudaMemcpyDeviceToDevice, stream_.get()),
                  "write_rows of " + cuda::described(rows));
  }
  Tensor transpose_rows(const Tensor& x) override {
    require_activation("transpose_rows", x);
    return cuda::transpose_rows(stream_, x);
  }

  // ---- images ------------------------------------------------------------------------------

  Tensor conv2d(const Tensor& x, const PreparedWeight& weight,
                const PreparedWeight& bias) override {
    require_activation("conv2d", x);
    const Shape& shape = weight.shape();  // [C_out, C_in, kh, kw]
    if (shape[2] != shape[3] || (shape[2] != 1 && shape[2] != 3))
      refuse("conv2d", "a kernel " + to_string(shape), "a square one of 1 or 3");
    const Tensor offsets = weights_.tensor(bias);
    return convolution_(x, weights_.tensor(weight), offsets, shape[2]);
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
  [[noreturn]] void refuse(const std::string& operation, const std::string& found,
                           const std::string& expected) const {
    throw Error(ErrorKind::unsupported,
                name() + ": " + operation + " of " + found + "; expected " + expected);
  }
  void require_activation(const char* operation, const Tensor& x) const {
    if (x.dtype() != DType::f32 && x.dtype() != DType::bf16)
      refuse(operation, cuda::described(x), "F32 or BF16");
  }

  cuda::Stream stream_;
  cuda::WeightStore weights_;
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
    const int capability = 10 * device_attribute(i, cudaDevAttrComputeCapabilityMajor) +
                           device_attribute(i, cudaDevAttrComputeCapabilityMinor);
    cudaDeviceProp properties{};
    require(cudaGetDeviceProperties(&properties, i), "cudaGetDeviceProperties");
    std::size_t free = 0, total = 0;
    require(cudaSetDevice(i), "cudaSetDevice " + std::to_string(i));
    require(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    info.cards.push_back({i, properties.name, capability, free, total});
  }
  return info;
}

}  // namespace cuda
}  // namespace ernie_image
