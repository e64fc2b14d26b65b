// cuDNN's convolutions with the bias added before the sum is rounded.
#include <map>
#include <optional>

#include "backend/cuda/convolution.h"
#include "backend/cuda/cudnn_graph.h"
#include "backend/cuda/left_out.h"

namespace ernie_image::cuda {
namespace {

enum Id : std::int64_t { kImage = 1, kFilters, kSums, kBias, kResult };

struct ConvolutionKey {
  std::int64_t batch, height, width, channels, outputs, kernel, stride;
  DType dtype;
  auto operator<=>(const ConvolutionKey&) const = default;
};

/// [B, H, W, C] in memory, which cuDNN calls [B, C, H, W]; likewise filters.
GraphTensor image_tensor(std::int64_t id, cudnnDataType_t dtype, std::int64_t batch,
                         std::int64_t channels, std::int64_t height, std::int64_t width,
                         GraphTensor::Kind kind = GraphTensor::Kind::in_memory) {
  return {id,
          dtype,
          {batch, channels, height, width},
          {height * width * channels, 1, width * channels, channels},
          kind};
}

Descriptor convolution_descriptor(Window window) {
  const std::int64_t ones[2] = {1, 1}, strides[2] = {window.stride, window.stride};
  const std::int64_t before[2] = {window.before(), window.before()};
  const std::int64_t after[2] = {window.after(), window.after()};
  Descriptor result(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  result.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, std::int64_t{2});
  result.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
  result.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE,
             CUDNN_CROSS_CORRELATION);
  const auto set = [&](cudnnBackendAttributeName_t name, const std::int64_t(&values)[2]) {
    result.set_all(name, CUDNN_TYPE_INT64, std::span<const std::int64_t>(values));
  };
  set(CUDNN_ATTR_CONVOLUTION_DILATIONS, ones);
  set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, strides);
  set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, before);
  set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, after);
  result.finalize("a cuDNN convolution");
  return result;
}

Descriptor addition_descriptor() {
  Descriptor result(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  result.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, CUDNN_POINTWISE_ADD);
  result.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
  result.finalize("a cuDNN addition");
  return result;
}

GraphPlan make_plan(const CudnnHandle& handle, const ConvolutionKey& key) {
  const cudnnDataType_t dtype = cudnn_type(key.dtype);
  const std::int64_t height = key.height / key.stride, width = key.width / key.stride;
  const Descriptor x =
      describe(image_tensor(kImage, dtype, key.batch, key.channels, key.height, key.width));
  const Descriptor filters =
      describe(image_tensor(kFilters, dtype, key.outputs, key.channels, key.kernel, key.kernel));
  const Descriptor sums = describe(image_tensor(kSums, CUDNN_DATA_FLOAT, key.batch, key.outputs,
                                                height, width, GraphTensor::Kind::intermediate));
  const Descriptor bias = describe(image_tensor(kBias, CUDNN_DATA_FLOAT, 1, key.outputs, 1, 1));
  const Descriptor result =
      describe(image_tensor(kResult, dtype, key.batch, key.outputs, height, width));
  const Descriptor convolution = convolution_descriptor({key.kernel, key.stride});
  const Descriptor addition = addition_descriptor();
  std::vector<Descriptor> operations;
  Descriptor& first =
      operations.emplace_back(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  first.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution);
  first.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
  first.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, filters);
  first.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, sums);
  first.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1.0f);
  first.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 0.0f);
  first.finalize("cuDNN's convolution");
  Descriptor& second = operations.emplace_back(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  second.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, addition);
  second.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, sums);
  second.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, bias);
  second.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, result);
  second.finalize("cuDNN's addition of a bias");
  return GraphPlan(handle, operations, key.dtype == DType::bf16);
}

class CudnnConvolution : public LibraryConvolution {
 public:
  explicit CudnnConvolution(const Stream& stream) : handle_(stream) {}

  bool convolve(const Stream& stream, const Tensor& x, const Tensor& filters, const Tensor& bias,
                Window window, const Tensor& y) override {
    if (stream.device().rehearses())
      return !stream.empty(DType::u8, {kRehearsedWorkspaceBytes}).empty();
    const ConvolutionKey key{x.dim(0),       x.dim(1),      x.dim(2),      x.dim(3),
                             filters.dim(0), window.kernel, window.stride, x.dtype()};
    auto found = plans_.find(key);
    if (found == plans_.end()) found = plans_.emplace(key, planned(key)).first;
    if (!found->second) return false;
    found->second->execute(stream, handle_,
                           {{kImage, x.bytes()},
                            {kFilters, filters.bytes()},
                            {kBias, bias.bytes()},
                            {kResult, y.bytes()}},
                           "convolution of " + described(x) + " and " + described(filters));
    return true;
  }

 private:
  std::optional<GraphPlan> planned(const ConvolutionKey& key) const {
    try {
      return make_plan(handle_, key);
    } catch (const NoPlan&) {
      return std::nullopt;
    }
  }

  CudnnHandle handle_;
  std::map<ConvolutionKey, std::optional<GraphPlan>> plans_;
};

}  // namespace

std::unique_ptr<LibraryConvolution> make_library_convolution(const Stream& stream) {
  if (is_left_out("cudnn-conv")) return nullptr;
  return std::make_unique<CudnnConvolution>(stream);
}

}  // namespace ernie_image::cuda
