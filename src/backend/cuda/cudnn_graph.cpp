#include "backend/cuda/cudnn_graph.h"

#include <algorithm>
#include <array>

namespace ernie_image::cuda {
namespace {

constexpr std::int64_t kMostConfigurations = 16;

std::string words(cudnnStatus_t status) {
  std::array<char, 512> message{};
  cudnnGetLastErrorString(message.data(), message.size());
  return std::string(cudnnGetErrorString(status)) + " (" + std::to_string(int(status)) + ") " +
         message.data();
}

/// Whether the engine of a configuration narrows fp32 on the way: by tensor cores that is TF32.
bool narrows(const Descriptor& configuration) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t handle = engine.get();
  std::int64_t count = 0;
  require_plan(cudnnBackendGetAttribute(configuration.get(), CUDNN_ATTR_ENGINECFG_ENGINE,
                                        CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &handle),
               "asking for an engine");
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  require_plan(
      cudnnBackendGetAttribute(engine.get(), CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                               CUDNN_TYPE_NUMERICAL_NOTE, std::ssize(notes), &count, notes.data()),
      "asking for numerical notes");
  const auto known = std::span(notes).first(static_cast<std::size_t>(count));
  return std::ranges::any_of(known, [](cudnnBackendNumericalNote_t note) {
    return note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE ||
           note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS ||
           note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION;
  });
}

}  // namespace

void require_plan(cudnnStatus_t status, const std::string& attempted) {
  if (status != CUDNN_STATUS_SUCCESS) throw NoPlan("cuda: " + attempted + ": " + words(status));
}

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  require_plan(cudnnBackendCreateDescriptor(type, &handle_),
               "a cuDNN descriptor of type " + std::to_string(int(type)));
}

Descriptor::~Descriptor() {
  if (handle_ != nullptr) cudnnBackendDestroyDescriptor(handle_);
}

void Descriptor::finalize(const char* what) { require_plan(cudnnBackendFinalize(handle_), what); }

Descriptor describe(const GraphTensor& tensor) {
  constexpr std::int64_t kAlignment = 16;
  Descriptor result(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  result.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, tensor.dtype);
  result.set_all(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64,
                 std::span<const std::int64_t>(tensor.dimensions));
  result.set_all(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64,
                 std::span<const std::int64_t>(tensor.strides));
  result.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, tensor.id);
  result.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, kAlignment);
  if (tensor.kind == GraphTensor::Kind::intermediate)
    result.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, true);
  if (tensor.kind == GraphTensor::Kind::host_scalar)
    result.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, true);
  result.finalize("a cuDNN tensor");
  return result;
}

cudnnDataType_t cudnn_type(DType dtype) {
  return dtype == DType::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

CudnnHandle::CudnnHandle(const Stream& stream) {
  if (stream.device().rehearses()) return;
  stream.device().bind();
  require_plan(cudnnCreate(&handle_), "cudnnCreate");
  require_plan(cudnnSetStream(handle_, stream.get()), "cudnnSetStream");
}

CudnnHandle::~CudnnHandle() {
  if (handle_ != nullptr) cudnnDestroy(handle_);
}

GraphPlan::GraphPlan(const CudnnHandle& handle, std::span<const Descriptor> operations,
                     bool reduced_precision) {
  std::vector<cudnnBackendDescriptor_t> parts;
  for (const Descriptor& operation : operations) parts.push_back(operation.get());
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set_all(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                std::span<const cudnnBackendDescriptor_t>(parts));
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, handle.get());
  graph.finalize("a cuDNN graph");
  std::string why_not = "no configuration";
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    if (try_mode(handle, graph, mode, reduced_precision, why_not)) return;
  }
  throw NoPlan(why_not);
}

bool GraphPlan::try_mode(const CudnnHandle& handle, const Descriptor& graph,
                         cudnnBackendHeurMode_t mode, bool reduced_precision,
                         std::string& why_not) {
  std::vector<Descriptor> configurations;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (std::int64_t i = 0; i < kMostConfigurations; ++i) {
    configurations.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    handles.push_back(configurations.back().get());
  }
  std::int64_t count = 0;
  try {
    Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
    heuristics.finalize("cuDNN's heuristics");
    require_plan(cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, kMostConfigurations,
                                          &count, handles.data()),
                 "asking cuDNN's heuristics");
  } catch (const NoPlan& error) {
    why_not = error.what();
    return false;
  }
  for (std::int64_t i = 0; i < std::min(count, kMostConfigurations); ++i) {
    const Descriptor& configuration = configurations[static_cast<std::size_t>(i)];
    try {
      if (!reduced_precision && narrows(configuration)) continue;
      Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, handle.get());
      plan.finalize("a cuDNN plan");
      std::int64_t one = 0;
      require_plan(cudnnBackendGetAttribute(plan.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                            CUDNN_TYPE_INT64, 1, &one, &workspace_bytes_),
                   "asking for a plan's workspace");
      plan_.push_back(std::move(plan));
      return true;
    } catch (const NoPlan& error) {
      why_not = error.what();
    }
  }
  return false;
}

void GraphPlan::execute(const Stream& stream, const CudnnHandle& handle, const Addresses& addresses,
                        const std::string& what) const {
  std::vector<std::int64_t> ids;
  std::vector<void*> pointers;
  for (const auto& [id, address] : addresses) {
    ids.push_back(id);
    pointers.push_back(address);
  }
  const Tensor workspace = stream.empty(DType::u8, {workspace_bytes_});
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set_all(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64,
               std::span<const std::int64_t>(ids));
  pack.set_all(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
               std::span<void* const>(pointers));
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR,
           static_cast<void*>(workspace.bytes()));
  pack.finalize("a cuDNN variant pack");
  const cudnnStatus_t status = cudnnBackendExecute(handle.get(), plan_.front().get(), pack.get());
  if (status != CUDNN_STATUS_SUCCESS)
    throw Error(ErrorKind::device, "cuda: cuDNN's " + what + " failed with " + words(status));
}

}  // namespace ernie_image::cuda
