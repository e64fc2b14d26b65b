// The functions behind CudaPlugin, and what they need.
#pragma once

#include <memory>

#include "backend/cuda/plugin.h"

namespace ernie_image::cuda {

/// See CudaPlugin.
std::unique_ptr<Backend> make_backend(const CudaOptions& options);

/// Driver, runtime, cuBLASLt and cuDNN with their versions.
std::vector<std::string> library_versions();

/// Cards, or why there are none.
DeviceInfo device_info();

/// A group of backends that are make_backend's.
std::vector<std::unique_ptr<Collective>> connect_cards(std::span<Backend* const> cards);

}  // namespace ernie_image::cuda
