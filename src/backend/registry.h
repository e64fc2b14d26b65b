// The devices of this build by name: the only place that knows which there are.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "backend/backend.h"

namespace ernie_image {

struct BackendOptions {
  /// "cpu", "cuda" or "ascend" (the first card), "cuda:N" or "ascend:N"
  std::string device = "cpu";
  int num_threads = 0;                    ///< of the CPU backend, see CpuOptions
  std::string cpu_kernels = "auto";       ///< of the CPU backend
  std::string offload = "auto";           ///< of devices with memory of their own
  std::string ascend_attention = "auto";  ///< of Ascend, see AscendOptions
  std::string cuda_attention = "auto";    ///< of CUDA, see CudaOptions
};

/// Whether the name is a device's of any machine; this one may not have it.
bool is_device_name(std::string_view name);

/// Throws Error(invalid_argument) for a name that is no device's, and what the device itself throws
/// if it cannot be used.
std::unique_ptr<Backend> make_backend(const BackendOptions& options);

}  // namespace ernie_image
