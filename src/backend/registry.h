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

/// What a plan of a device's own memory has to know of it beside the tensors that backend.h speaks
/// of.
struct DeviceHabits {
  /// Of single operations, as far as that is known without asking the vendor's libraries.
  std::uint64_t workspace_bytes = 0;
  /// Layers with a bias are computed in f32, with a copy of their weights.
  bool widens_biased_layers = false;
};
DeviceHabits device_habits(const std::string& device);

/// Throws Error(invalid_argument) for a name that is no device's, and what the device itself throws
/// if it cannot be used.
std::unique_ptr<Backend> make_backend(const BackendOptions& options);

}  // namespace ernie_image
