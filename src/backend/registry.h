// The devices of this build by name: the only place that knows which there are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

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

/// "ascend:0,1" as "ascend:0" and "ascend:1": a replica for each. One name is a list of one. Throws
/// Error(invalid_argument) for what names no device of any machine, or one twice.
std::vector<std::string> split_device_list(const std::string& list);

/// Throws Error(invalid_argument) for a name that is no device's, and what the device itself throws
/// if it cannot be used.
std::unique_ptr<Backend> make_backend(const BackendOptions& options);

}  // namespace ernie_image
