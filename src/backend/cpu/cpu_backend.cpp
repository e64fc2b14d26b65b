// The CPU backend: allocates results, checks, and calls the drivers in namespace cpu.
#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <optional>
#include <string>
#include <utility>

#include "backend/cpu/convolution.h"
#include "backend/cpu/encoded_linear.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/linear.h"
#include "backend/cpu/low_rank.h"
#include "backend/cpu/measuring.h"
#include "backend/cpu/memory_pool.h"
#include "backend/cpu/packed_linear.h"
#include "backend/cpu/prepared_weight.h"
#include "backend/cpu/stride2.h"
#include "backend/registry.h"
#include "core/ledger.h"
#include "core/quantization.h"
#include "core/thread_pool.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

[[noreturn]] void refuse(const char* operation, DType dtype, const Shape& shape,
                         const char* expected) {
  throw Error(ErrorKind::unsupported, std::string("cpu: ") + operation + " of " +
                                          std::string(dtype_name(dtype)) + " " + to_string(shape) +
                                          "; expected " + expected);
}

void require_activation(const char* operation, const Tensor& x) {
  if (x.dtype() != DType::f32 && x.dtype() != DType::bf16)
    refuse(operation, x.dtype(), x.shape(), "F32 or BF16");
}

const float* vector_data(const PreparedWeight& weight) {
  return as_cpu_weight(weight, WeightUse::vector).converted.data<float>();
}

const float* vector_data(const PreparedWeight* weight) {
  return weight == nullptr ? nullptr : vector_data(*weight);
}

/// What the system maps where one row of a table is read.
constexpr std::size_t kPagesAroundRow = std::size_t{64} << 10;

Shape with_last(Shape shape, std::int64_t extent) {
  shape.back() = extent;
  return shape;
}

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const CpuOptions& options)
      : kernels_(choose_kernels(options.kernels == kNoKernels ? "auto" : options.kernels)),
        pool_(
            options.kernels == kNoKernels
                ? ThreadPool::idle(options.num_threads > 0 ? options.num_threads : available_cpus())
                : ThreadPool(options.num_threads)),
        gelu_(options.gelu),
        block_activations_(options.block_activations) {
    if (block_activations_ == BlockActivations::int8 && kernels_.encoded.decode == nullptr) {
      throw Error(ErrorKind::unsupported,
                  std::string("cpu: --block-activations int8: the kernels \"") + kernels_.name +
                      "\" have no such products; expected AVX-512 with VNNI; use exact or auto");
    }
    only_touches = options.kernels == kNoKernels;
  }

  CpuBackend(const CpuBackend& rehearsed, const Ledger& ledger)
      : kernels_(rehearsed.kernels_),
        pool_(ThreadPool::idle(rehearsed.pool_.num_threads())),
        gelu_(rehearsed.gelu_),
        block_activations_(rehearsed.block_activations_),
        memory_(&ledger),
        ledger_(ledger) {}

  std::unique_ptr<Backend> rehearsal(const Ledger& ledger, std::uint64_t /*room_bytes*/,
                                     const std::string& /*offload*/) const override {
    return std::make_unique<CpuBackend>(*this, ledger);
  }

  std::string name() const override { return "cpu"; }

  void set_cancel_token(std::shared_ptr<const CancelToken> token) override {
    pool_.set_cancel_token(std::move(token));
  }

  std::size_t peak_memory_bytes() const override { return memory_.peak_bytes(); }
  void reset_peak_memory() override { memory_.reset_peak(); }
  void release_cache() override { memory_.release_cache(); }
  void sizes_change() override { memory_.release_small_blocks(); }

  // ---- memory ------------------------------------------------------------------------------

  Tensor empty(DType dtype, Shape shape) override {
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(num_elements(shape), size_of(dtype), &bytes)) {
      throw Error(ErrorKind::out_of_memory,
                  "cpu: a tensor " + to_string(shape) + " is larger than any memory");
    }
    std::shared_ptr<std::byte> block = memory_.allocate(bytes);
    std::byte* data = block.get();
    return Tensor(dtype, std::move(shape), data, std::move(block));
  }

  // Operations never write to their inputs, so both worlds can share one memory.
  Tensor upload(const Tensor& host) override { return host; }
  Tensor download(const Tensor& tensor) override { return tensor; }

  WeightHandle prepare(const Weight& weight, WeightUse use, Quantization quantization) override {
    // A weight that is packed already stays what it is.
    const bool copies = quantization != Quantization::none && !is_packed(weight.format);
    if (ledger_) ledger_->assign_layer(weight.data, copies ? -1 : weight.layer);
    if (!copies) return prepare_cpu_weight(weight, use);
    assert(use == WeightUse::linear);
    if (ledger_) return booked_cpu_weight(*ledger_, weight, weight_format(quantization));
    return quantize_cpu_weight(pool_, weight, weight_format(quantization));
  }

  // ---- dense layers ------------------------------------------------------------------------

  Tensor linear(const Tensor& x, const PreparedWeight& weight,
                const PreparedWeight* bias) override {
    Tensor y = linear_result(x, weight);
    LinearCall call;
    add(call, weight, vector_data(bias), x, y);
    run(x, call);
    return y;
  }

  std::vector<Tensor> linear_together(const Tensor& x,
                                      const std::vector<const PreparedWeight*>& weights) override {
    LinearCall call;
    std::vector<Tensor> results;
    for (const PreparedWeight* weight : weights) {
      results.push_back(linear_result(x, *weight));
      add(call, *weight, nullptr, x, results.back());
    }
    run(x, call);
    return results;
  }

  std::vector<Tensor> linear_with_terms(const Tensor& x,
                                        std::span<const LinearWithTerms> layers) override {
    std::vector<cpu::LowRankFactors> factors;
    for (const LinearWithTerms& layer : layers) {
      for (const LowRankTerm& term : layer.terms)
        factors.push_back({&used(*term.down), &used(*term.up)});
    }
    const auto is_plain = [](const cpu::LowRankFactors& factor) {
      return factor.down->format == WeightFormat::plain && factor.up->format == WeightFormat::plain;
    };
    if (!std::ranges::all_of(factors, is_plain)) return Backend::linear_with_terms(x, layers);
    const cpu::LowRankTerms terms(pool_, memory_, kernels_.gemm, x, factors);
    LinearCall call;
    std::vector<Tensor> results;
    std::size_t first = 0;
    for (const LinearWithTerms& layer : layers) {
      results.push_back(linear_result(x, *layer.weight));
      add(call, *layer.weight, vector_data(layer.bias), x, results.back(),
          terms.terms(first, layer.terms.size()));
      first += layer.terms.size();
    }
    run(x, call);
    return results;
  }

  Tensor embedding(std::span<const std::int32_t> ids, const PreparedWeight& table,
                   DType dtype) override {
    const Weight& source = as_cpu_weight(table, WeightUse::embedding).source;
    Tensor y = empty(dtype, {std::ssize(ids), source.shape[1]});
    if (ledger_) ledger_->touch(source.data, ids.size() * kPagesAroundRow);
    require_activation("embedding", y);
    cpu::embedding(pool_, kernels_.elementwise, ids, source, y);
    return y;
  }

  // ---- norms and element-wise --------------------------------------------------------------

  Tensor rms_norm(const Tensor& x, const PreparedWeight& weight, float eps) override {
    Tensor y = result_like("rms_norm", x);
    cpu::rms_norm(pool_, kernels_.norm, x, vector_data(weight), eps, y);
    return y;
  }

  Tensor rms_norm_modulate(const Tensor& x, const PreparedWeight& weight, float eps, Chunk scale,
                           Chunk shift) override {
    Tensor y = result_like("rms_norm_modulate", x);
    cpu::rms_norm_modulate(pool_, kernels_.norm, x, vector_data(weight), eps, scale, shift, y);
    return y;
  }

  Tensor layer_norm_modulate(const Tensor& x, float eps, Chunk scale, Chunk shift) override {
    Tensor y = result_like("layer_norm_modulate", x);
    cpu::layer_norm_modulate(pool_, kernels_.norm, x, eps, scale, shift, y);
    return y;
  }

  Tensor norm_rope(const Tensor& x, const PreparedWeight* norm_weight, float eps,
                   const RotaryTable& rotary) override {
    Tensor y = result_like("norm_rope", x);
    cpu::norm_rope(pool_, kernels_.norm, x, vector_data(norm_weight), eps, rotary, y);
    return y;
  }

  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionMask& mask,
                   float scale) override {
    require_activation("attention", q);
    Tensor y = empty(q.dtype(), {q.dim(0), q.dim(1), q.dim(2) * q.dim(3)});
    cpu::attention(pool_, kernels_.attention, q, k, v, mask, scale, y);
    return y;
  }

  Tensor gelu_mul(const Tensor& gate, const Tensor& up) override {
    Tensor y = result_like("gelu_mul", gate);
    cpu::gelu_mul(pool_, kernels_.elementwise, gelu_, gate, up, y);
    return y;
  }

  Tensor silu_mul(const Tensor& gate, const Tensor& up) override {
    Tensor y = result_like("silu_mul", gate);
    cpu::silu_mul(pool_, kernels_.elementwise, gate, up, y);
    return y;
  }

  Tensor gated_add(const Tensor& x, Chunk gate, const Tensor& y) override {
    Tensor result = result_like("gated_add", x);
    cpu::gated_add(pool_, kernels_.elementwise, x, gate, y, result);
    return result;
  }

  Tensor add(const Tensor& a, const Tensor& b) override {
    Tensor y = result_like("add", a);
    cpu::add(pool_, kernels_.elementwise, a, b, y);
    return y;
  }

  Tensor multiply(const Tensor& a, const Tensor& b) override {
    Tensor y = result_like("multiply", a);
    cpu::multiply(pool_, kernels_.elementwise, a, b, y);
    return y;
  }

  Tensor gelu(const Tensor& x) override {
    Tensor y = result_like("gelu", x);
    cpu::gelu(pool_, kernels_.elementwise, gelu_, x, y);
    return y;
  }

  Tensor silu(const Tensor& x) override {
    Tensor y = result_like("silu", x);
    cpu::silu(pool_, kernels_.elementwise, x, y);
    return y;
  }

  Tensor cast(const Tensor& x, DType dtype) override {
    if (x.dtype() == dtype) return x;
    require_activation("cast", x);
    Tensor y = empty(dtype, x.shape());
    require_activation("cast", y);
    cpu::cast(pool_, kernels_.elementwise, x, y);
    return y;
  }

  // ---- layout ------------------------------------------------------------------------------

  Tensor concat_rows(const Tensor& a, const Tensor& b) override {
    assert(a.dtype() == b.dtype());
    Tensor y = empty(a.dtype(), {a.dim(0), a.dim(1) + b.dim(1), a.dim(2)});
    cpu::concat_rows(pool_, a, b, y);
    return y;
  }

  Tensor slice_rows(const Tensor& x, std::int64_t begin, std::int64_t count) override {
    Tensor y = empty(x.dtype(), {x.dim(0), count, x.dim(2)});
    cpu::slice_rows(pool_, x, begin, y);
    return y;
  }

  void write_rows(Tensor& target, std::int64_t begin, const Tensor& rows) override {
    assert(target.dtype() == rows.dtype());
    if (!target.is_booked())
      std::copy_n(rows.bytes(), rows.size_bytes(), target.slice(begin, rows.dim(0)).bytes());
  }

  Tensor transpose_rows(const Tensor& x) override {
    Tensor y = empty(x.dtype(), {x.dim(0), x.dim(2), x.dim(1)});
    cpu::transpose_rows(pool_, x, y);
    return y;
  }

  // ---- images ------------------------------------------------------------------------------

  Tensor conv2d(const Tensor& x, const PreparedWeight& weight,
                const PreparedWeight& bias) override {
    return conv2d_band({x}, weight, bias, {});
  }

  Tensor conv2d_band(const ImageBand& x, const PreparedWeight& weight, const PreparedWeight& bias,
                     const ConvFusion& fusion) override {
    require_activation("conv2d", x.rows);
    const Shape& shape = weight.shape();  // [C_out, C_in, kh, kw]
    const CpuWeight& prepared = as_cpu_weight(weight, WeightUse::conv2d);
    if (shape[2] != shape[3] || (shape[2] != 1 && shape[2] != 3))
      refuse("conv2d", prepared.source.dtype, shape, "a square kernel of 1 or 3");
    assert(x.rows.rank() == 4 && x.rows.dim(3) == shape[1]);
    if (shape[2] == 3) return conv3x3(x, prepared, vector_data(bias), fusion);
    if (fusion.norm != nullptr || fusion.upsample || fusion.residual != nullptr)
      return Backend::conv2d_band({x.rows}, weight, bias, fusion);
    return pointwise(x.rows, prepared, vector_data(bias));
  }

  Tensor conv2d_stride2(const ImageBand& x, const PreparedWeight& weight,
                        const PreparedWeight& bias) override {
    require_activation("conv2d_stride2", x.rows);
    const Shape& shape = weight.shape();  // [C_out, C_in, kh, kw]
    const CpuWeight& prepared = as_cpu_weight(weight, WeightUse::conv2d);
    if (shape[2] != 3 || shape[3] != 3)
      refuse("conv2d_stride2", prepared.source.dtype, shape, "a kernel of 3 x 3");
    assert(x.below == nullptr || x.rows.dim(1) % 2 == 0);
    const Shape& in = x.rows.shape();
    Tensor y = empty(x.rows.dtype(), {in[0], in[1] / 2, in[2] / 2, shape[0]});
    const std::shared_ptr<float> filters = kept_filters(x, prepared, 2, [&] {
      return cpu::stride2_weights(pool_, memory_, kernels_.conv_gemm,
                                  used(prepared, WeightUse::conv2d));
    });
    cpu::conv2d_stride2(pool_, memory_, kernels_.conv_gemm,
                        {x, filters.get(), vector_data(bias), y});
    return y;
  }

  bool takes_bands() const override { return true; }

  GroupStatistics group_statistics(std::span<const Tensor> bands, int groups, float eps) override {
    return {groups, eps, cpu::group_statistics(pool_, kernels_.norm, bands, groups, eps)};
  }

  Tensor group_norm(const Tensor& x, const PreparedWeight& weight, const PreparedWeight& bias,
                    int groups, float eps, Activation activation) override {
    Tensor y = result_like("group_norm", x);
    cpu::group_norm(pool_, kernels_.norm, x, vector_data(weight), vector_data(bias), groups, eps,
                    activation, y);
    return y;
  }

  Tensor upsample_nearest2x(const Tensor& x) override {
    Tensor y = empty(x.dtype(), {x.dim(0), x.dim(1) * 2, x.dim(2) * 2, x.dim(3)});
    cpu::upsample_nearest2x(pool_, x, y);
    return y;
  }

 private:
  Tensor result_like(const char* operation, const Tensor& x) {
    require_activation(operation, x);
    return empty(x.dtype(), x.shape());
  }

  /// Layers that read the same x, by how their weights are kept.
  struct LinearCall {
    std::vector<cpu::LinearLayer> plain;
    std::vector<cpu::LinearLayer> encoded;
    std::vector<cpu::LinearLayer> blocks;
    std::vector<cpu::PackedLayer> packed;

    void add(const Weight& source, const float* bias, const Tensor& y,
             std::span<const AddedTerm> terms, bool takes_blocks) {
      if (source.format == WeightFormat::plain) {
        plain.push_back({&source, bias, y, terms});
      } else if (takes_blocks) {
        blocks.push_back({&source, bias, y, terms});
      } else if (source.format == WeightFormat::encoded) {
        encoded.push_back({&source, bias, y, terms});
      } else {
        packed.push_back({PackedLayout(source.format, source.shape), source.data, bias, y, terms});
      }
    }
  };

  /// Its pages are read.
  const Weight& used(const PreparedWeight& weight, WeightUse use = WeightUse::linear) {
    const Weight& source = as_cpu_weight(weight, use).source;
    if (ledger_) ledger_->touch(source.data);
    if (only_touches && !ledger_) touch(source);
    return source;
  }

  static void touch(const Weight& weight) {
    constexpr std::size_t kPage = 4096;
    if (weight.format == WeightFormat::encoded) return touch_encoded(weight);
    for (std::size_t i = 0; i < weight.size_bytes(); i += kPage)
      static_cast<void>(*(static_cast<const volatile std::byte*>(weight.data) + i));
  }

  /// Only its decoder knows where it lies: a block of every page.
  static void touch_encoded(const Weight& weight) {
    constexpr std::int64_t kElementsOfPage = 1024, kBlock = 256;
    std::array<float, kBlock> values;
    const std::int64_t size = num_elements(weight.shape);
    for (std::int64_t i = 0; i < size; i += kElementsOfPage)
      weight.decoder->decode(i, std::min(kBlock, size - i), values.data());
  }

  Tensor linear_result(const Tensor& x, const PreparedWeight& weight) {
    require_activation("linear", x);
    assert(weight.shape().size() == 2 && x.dim(-1) == weight.shape()[1]);
    return empty(x.dtype(), with_last(x.shape(), weight.shape()[0]));
  }

  void add(LinearCall& call, const PreparedWeight& weight, const float* bias, const Tensor& x,
           const Tensor& y, std::span<const AddedTerm> terms = {}) {
    const Weight& source = used(weight);
    call.add(source, bias, y, terms, rounds(x) && cpu::takes_blocks(kernels_.encoded, source));
  }

  /// Whether x is rounded for a product with blocks of weights: few rows to 16 bits, which is as
  /// good as exact, else to 8.
  bool rounds(const Tensor& x) const {
    if (x.size() == 0 || x.size() / x.dim(-1) <= GemmKernels::kMaxVectors) return true;
    if (block_activations_ == BlockActivations::automatic) return x.dtype() == DType::bf16;
    return block_activations_ == BlockActivations::int8;
  }

  void run(const Tensor& x, const LinearCall& call) {
    const bool many = x.size() != 0 && x.size() / x.dim(-1) > GemmKernels::kMaxVectors;
    const auto linear =
        many && kernels_.linear_of_many != nullptr ? kernels_.linear_of_many : cpu::linear;
    if (!call.plain.empty()) linear(pool_, memory_, kernels_.gemm, x, call.plain);
    if (!call.encoded.empty()) cpu::linear(pool_, memory_, kernels_.gemm, x, call.encoded);
    if (!call.blocks.empty())
      cpu::encoded_linear(pool_, memory_, kernels_.gemm, kernels_.encoded, x, call.blocks);
    if (!call.packed.empty())
      cpu::packed_linear(pool_, memory_, kernels_.gemm, kernels_.packed, x, call.packed);
  }

  /// A 1x1 convolution is a linear layer over pixels.
  Tensor pointwise(const Tensor& x, const CpuWeight& weight, const float* bias) {
    const cpu::LinearLayer layer = {&used(weight, WeightUse::conv2d), bias,
                                    empty(x.dtype(), with_last(x.shape(), weight.shape()[0]))};
    cpu::linear(pool_, memory_, kernels_.gemm, x, {&layer, 1});
    return layer.y;
  }

  Tensor conv3x3(const ImageBand& x, const CpuWeight& weight, const float* bias,
                 const ConvFusion& fusion) {
    const std::int64_t scale = fusion.upsample ? 2 : 1;
    const Shape& in = x.rows.shape();
    Tensor y = empty(x.rows.dtype(), {in[0], scale * in[1], scale * in[2], weight.shape()[0]});
    assert(fusion.residual == nullptr || fusion.residual->shape() == y.shape());
    const std::shared_ptr<float> filters = kept_filters(x, weight, 1, [&] {
      return cpu::winograd_weights(pool_, memory_, kernels_.conv_gemm, kernels_.winograd,
                                   used(weight, WeightUse::conv2d));
    });
    cpu::Conv3x3 job = {.x = x,
                        .norm = {},
                        .upsample = fusion.upsample,
                        .weights = filters.get(),
                        .bias = bias,
                        .residual = fusion.residual,
                        .y = y};
    std::optional<cpu::ChannelNorm> norm;
    if (fusion.norm != nullptr) {
      norm.emplace(fusion.norm->statistics.values, in[3], vector_data(fusion.norm->weight));
      job.norm = {norm->mean.data(), norm->factor.data(), vector_data(fusion.norm->bias)};
    }
    cpu::winograd_conv2d(pool_, memory_, kernels_.conv_gemm, kernels_.winograd, job);
    return y;
  }

  /// What `make` gives for the filters, kept from one band of a picture to the next; bands come
  /// from top to bottom.
  template <class Make>
  std::shared_ptr<float> kept_filters(const ImageBand& x, const CpuWeight& weight, int stride,
                                      Make make) {
    const Filters wanted = {&weight, stride};
    std::shared_ptr<float> filters;
    if (x.above != nullptr && filters_ != nullptr && filters_of_ == wanted) {
      filters = filters_;
    } else {
      filters_.reset();
      filters = make();
    }
    filters_of_ = wanted;
    filters_ = x.below == nullptr ? nullptr : filters;
    return filters;
  }

  struct Filters {
    const CpuWeight* weight = nullptr;
    int stride = 1;
    bool operator==(const Filters&) const = default;
  };

  const KernelTable& kernels_;
  ThreadPool pool_;
  GeluForm gelu_;
  BlockActivations block_activations_;
  CpuMemoryPool memory_;
  std::optional<Ledger> ledger_;    // of a rehearsal
  Filters filters_of_;              // the convolution under way
  std::shared_ptr<float> filters_;  // null if its last band is done
};

}  // namespace

std::vector<std::string> cpu_kernel_names() {
  std::vector<std::string> names;
  for (const KernelTable* table : usable_kernels()) names.emplace_back(table->name);
  return names;
}

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options) {
  return std::make_unique<CpuBackend>(options);
}

namespace {

constexpr const char* kBlockActivations = "block_activations";

DeviceOption block_activations_option() {
  return {.name = kBlockActivations,
          .values = {"auto", "exact", "int8"},
          .help =
              "products with quantised weights of GGUF files on the CPU: exact, or activations "
              "rounded to int8, which is faster; auto: int8 with --dtype bf16",
          .records_default = false};
}

BlockActivations block_activations(const std::string& text) {
  if (text == "auto") return BlockActivations::automatic;
  return text == "int8" ? BlockActivations::int8 : BlockActivations::exact;
}

}  // namespace

const DeviceKind& cpu_device() {
  static const DeviceKind kind = {
      .name = "cpu",
      .has_cards = false,
      .options = {gelu_option(), block_activations_option()},
      .info = [] { return DeviceInfo(); },
      .make =
          [](int, const BackendOptions& options) {
            return make_cpu_backend(
                {options.num_threads, options.cpu_kernels,
                 gelu_form(options.device_options.at("gelu")),
                 block_activations(options.device_options.at(kBlockActivations))});
          }};
  return kind;
}

}  // namespace ernie_image
