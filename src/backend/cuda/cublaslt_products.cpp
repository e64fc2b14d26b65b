// Matrix products of cuBLASLt. Row-major y = x w^T is, seen column by column, y^T = (w^T)^T x^T:
// w transposed, x not, so that both are read along K and nothing is rearranged.
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "backend/cuda/left_out.h"
#include "backend/cuda/products.h"
#include "ernie_image/error.h"

namespace ernie_image::cuda {
namespace {

/// What NVIDIA recommends for Hopper; smaller cards need less.
constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;
constexpr int kCandidates = 8;
constexpr int kTimedRounds = 3;

void require_lt(cublasStatus_t status, const std::string& attempted) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(status == CUBLAS_STATUS_ALLOC_FAILED ? ErrorKind::out_of_memory : ErrorKind::device,
              "cuda: " + attempted + " failed with " + cublasLtGetStatusName(status) + " (" +
                  std::to_string(int(status)) + "): " + cublasLtGetStatusString(status));
}

cudaDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::i8:
      return CUDA_R_8I;
    case DType::i32:
      return CUDA_R_32I;
    default:
      return CUDA_R_32F;
  }
}

/// A cuBLASLt object with its deleter.
template <typename Handle, cublasStatus_t (*destroy)(Handle)>
class Owned {
 public:
  Owned() = default;
  ~Owned() {
    if (handle_ != nullptr) destroy(handle_);
  }
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  Handle get() const { return handle_; }
  Handle* out() { return &handle_; }

 private:
  Handle handle_ = nullptr;
};
using Operation = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

template <typename Value>
void prefer(const Preference& preference, cublasLtMatmulPreferenceAttributes_t attribute,
            Value value) {
  require_lt(
      cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof(value)),
      "cublasLtMatmulPreferenceSetAttribute");
}

Layout layout(DType dtype, std::int64_t rows, std::int64_t columns, std::int64_t stride) {
  Layout result;
  require_lt(
      cublasLtMatrixLayoutCreate(result.out(), data_type(dtype), static_cast<std::uint64_t>(rows),
                                 static_cast<std::uint64_t>(columns), stride),
      "cublasLtMatrixLayoutCreate");
  return result;
}

/// Sums in fp32 without TF32, or in int32.
Operation operation(DType x) {
  const bool integers = x == DType::i8;
  const cublasComputeType_t compute = integers          ? CUBLAS_COMPUTE_32I
                                      : x == DType::f32 ? CUBLAS_COMPUTE_32F_PEDANTIC
                                                        : CUBLAS_COMPUTE_32F;
  Operation result;
  require_lt(cublasLtMatmulDescCreate(result.out(), compute, integers ? CUDA_R_32I : CUDA_R_32F),
             "cublasLtMatmulDescCreate");
  const cublasOperation_t transposed = CUBLAS_OP_T;
  require_lt(cublasLtMatmulDescSetAttribute(result.get(), CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                            sizeof(transposed)),
             "cublasLtMatmulDescSetAttribute");
  return result;
}

struct Plan {
  Operation operation;
  Layout w, x, y;
  /// Nothing if cuBLASLt has no algorithm for the key.
  std::vector<cublasLtMatmulHeuristicResult_t> algorithms;
};

class CublasLtProducts : public LibraryProducts {
 public:
  explicit CublasLtProducts(const Stream& stream) : workspace_(stream.device(), kWorkspaceBytes) {
    if (stream.device().rehearses()) return;
    require_lt(cublasLtCreate(&handle_), "cublasLtCreate");
    const char* const tune = std::getenv("ERNIE_IMAGE_CUDA_TUNE");
    tune_ = tune != nullptr && std::strcmp(tune, "1") == 0;
  }
  ~CublasLtProducts() override {
    if (handle_ != nullptr) cublasLtDestroy(handle_);
  }

  bool multiply(const Stream& stream, const Matrix& x, const Matrix& w, const Matrix& y) override {
    if (stream.device().rehearses()) return true;
    stream.begin_call();
    const ProductKey key = product_key(x, w, y);
    auto found = plans_.find(key);
    if (found == plans_.end()) {
      found = plans_.emplace(key, make_plan(key)).first;
      if (tune_ && is_worth_timing(key)) sort_by_time(stream, key, found->second, x, w, y);
    }
    const Plan& plan = found->second;
    if (plan.algorithms.empty()) return false;
    require_lt(run(stream, key, plan, plan.algorithms.front(), x, w, y),
               "cublasLtMatmul of " + to_string(key));
    return true;
  }

 private:
  Plan make_plan(const ProductKey& key) const {
    Plan plan{operation(key.x),
              layout(key.w, key.depth, key.columns, key.w_stride),
              layout(key.x, key.depth, key.rows, key.x_stride),
              layout(key.y, key.columns, key.rows, key.y_stride),
              {}};
    Preference preference;
    require_lt(cublasLtMatmulPreferenceCreate(preference.out()), "cublasLtMatmulPreferenceCreate");
    prefer(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    // Partial sums are added in the type of the sums, never in that of the output.
    prefer(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    const auto alignment = [](int bytes) { return static_cast<std::uint32_t>(bytes); };
    prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(key.w_alignment));
    prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(key.x_alignment));
    prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(key.y_alignment));
    prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(key.y_alignment));
    std::array<cublasLtMatmulHeuristicResult_t, kCandidates> results{};
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle_, plan.operation.get(), plan.w.get(), plan.x.get(), plan.y.get(), plan.y.get(),
        preference.get(), kCandidates, results.data(), &count);
    // "Not supported" and "invalid value" are its answers to shapes that it has nothing for.
    if (status != CUBLAS_STATUS_NOT_SUPPORTED && status != CUBLAS_STATUS_INVALID_VALUE)
      require_lt(status, "cublasLtMatmulAlgoGetHeuristic of " + to_string(key));
    for (const auto& result : std::span(results).first(static_cast<std::size_t>(count))) {
      if (result.state == CUBLAS_STATUS_SUCCESS) plan.algorithms.push_back(result);
    }
    return plan;
  }

  cublasStatus_t run(const Stream& stream, const ProductKey& key, const Plan& plan,
                     const cublasLtMatmulHeuristicResult_t& algorithm, const Matrix& x,
                     const Matrix& w, const Matrix& y) const {
    const float one = 1, zero = 0;
    const std::int32_t integer_one = 1, integer_zero = 0;
    const bool integers = key.x == DType::i8;
    return cublasLtMatmul(
        handle_, plan.operation.get(), integers ? static_cast<const void*>(&integer_one) : &one,
        w.data, plan.w.get(), x.data, plan.x.get(),
        integers ? static_cast<const void*>(&integer_zero) : &zero, y.data, plan.y.get(), y.data,
        plan.y.get(), &algorithm.algo, workspace_.data(), workspace_.bytes(), stream.get());
  }

  /// Which of the candidates is first then depends on the moment: runs may differ in last bits.
  void sort_by_time(const Stream& stream, const ProductKey& key, Plan& plan, const Matrix& x,
                    const Matrix& w, const Matrix& y) const {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    require(cudaStreamIsCapturing(stream.get(), &status), "cudaStreamIsCapturing");
    if (status != cudaStreamCaptureStatusNone) return;
    cudaEvent_t begin = nullptr, end = nullptr;
    require(cudaEventCreate(&begin), "creating an event");
    require(cudaEventCreate(&end), "creating an event");
    std::vector<std::pair<float, cublasLtMatmulHeuristicResult_t>> timed;
    for (const auto& algorithm : plan.algorithms) {
      float best = 0;
      bool works = true;
      for (int round = 0; round < kTimedRounds && works; ++round) {
        cudaEventRecord(begin, stream.get());
        works = run(stream, key, plan, algorithm, x, w, y) == CUBLAS_STATUS_SUCCESS;
        cudaEventRecord(end, stream.get());
        require(cudaEventSynchronize(end), "timing a matrix product");
        float milliseconds = 0;
        require(cudaEventElapsedTime(&milliseconds, begin, end), "timing a matrix product");
        best = round == 0 ? milliseconds : std::min(best, milliseconds);
      }
      if (works) timed.emplace_back(best, algorithm);
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    std::ranges::stable_sort(timed, {}, [](const auto& pair) { return pair.first; });
    plan.algorithms.clear();
    for (const auto& [milliseconds, algorithm] : timed) plan.algorithms.push_back(algorithm);
  }

  cublasLtHandle_t handle_ = nullptr;
  card::DeviceBlock workspace_;
  bool tune_ = false;
  std::map<ProductKey, Plan> plans_;
};

}  // namespace

std::unique_ptr<LibraryProducts> make_library_products(const Stream& stream) {
  if (is_left_out("cublaslt")) return nullptr;
  return std::make_unique<CublasLtProducts>(stream);
}

}  // namespace ernie_image::cuda
