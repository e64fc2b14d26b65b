// cuDNN's graphs of operations, through its backend API: descriptors that own themselves, plans for
// a graph, and their execution.
#pragma once

#include <cudnn.h>

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backend/cuda/stream.h"

namespace ernie_image::cuda {

/// cuDNN has nothing for a graph, or refuses it.
class NoPlan : public Error {
 public:
  explicit NoPlan(const std::string& why) : Error(ErrorKind::unsupported, why) {}
};

/// Throws NoPlan with what was attempted and cuDNN's own words unless `status` is 0.
void require_plan(cudnnStatus_t status, const std::string& attempted);

class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }

  cudnnBackendDescriptor_t get() const { return handle_; }

  template <typename Value>
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, Value value) {
    set_all(name, type, std::span<const Value>(&value, 1));
  }
  template <typename Value>
  void set_all(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
               std::span<const Value> values) {
    require_plan(cudnnBackendSetAttribute(handle_, name, type,
                                          static_cast<std::int64_t>(values.size()), values.data()),
                 "cuDNN attribute " + std::to_string(int(name)));
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& part) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, part.get());
  }
  void finalize(const char* what);

 private:
  cudnnBackendDescriptor_t handle_ = nullptr;
};

/// A tensor of a graph. Dimensions and strides as cuDNN orders them: batch, channels or heads, ...
struct GraphTensor {
  enum class Kind { in_memory, intermediate, host_scalar };
  std::int64_t id;
  cudnnDataType_t dtype;
  std::vector<std::int64_t> dimensions, strides;
  Kind kind = Kind::in_memory;
};
Descriptor describe(const GraphTensor& tensor);

cudnnDataType_t cudnn_type(DType dtype);

/// What a rehearsal, which asks cuDNN for no plan, takes for the workspace of any.
constexpr std::int64_t kRehearsedWorkspaceBytes = std::int64_t{128} << 20;

class CudnnHandle {
 public:
  explicit CudnnHandle(const Stream& stream);
  ~CudnnHandle();
  CudnnHandle(const CudnnHandle&) = delete;
  CudnnHandle& operator=(const CudnnHandle&) = delete;
  cudnnHandle_t get() const { return handle_; }

 private:
  cudnnHandle_t handle_ = nullptr;
};

/// An address in the card's memory, or of a host scalar, for each id.
using Addresses = std::vector<std::pair<std::int64_t, void*>>;

/// How cuDNN is going to compute a graph.
class GraphPlan {
 public:
  /// The first of the heuristics' configurations that can be built; without `reduced_precision`
  /// none that uses tensor cores (TF32) or narrows its inputs. Throws NoPlan.
  GraphPlan(const CudnnHandle& handle, std::span<const Descriptor> operations,
            bool reduced_precision);

  void execute(const Stream& stream, const CudnnHandle& handle, const Addresses& addresses,
               const std::string& what) const;

 private:
  bool try_mode(const CudnnHandle& handle, const Descriptor& graph, cudnnBackendHeurMode_t mode,
                bool reduced_precision, std::string& why_not);

  std::vector<Descriptor> plan_;  // one, once there is one
  std::int64_t workspace_bytes_ = 0;
};

}  // namespace ernie_image::cuda
