// What the program and libernie_image_cuda.so say to each other. The library is opened when the
// program runs, so that the same program starts on machines without CUDA.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/device.h"

namespace ernie_image {

struct CudaOptions {
  int device = 0;
  std::string attention = "auto";  ///< auto, cudnn, own: cuda/attention.h
  std::string offload = "auto";    ///< auto, none, encoder, layers: card/weights.h
  std::string gelu = "exact";      ///< exact, tanh: gelu.h
};

struct CudaPlugin {
  /// ERNIE_IMAGE_CUDA_ABI of its build; nothing else may be looked at unless it is ours.
  const char* abi;
  /// Throws Error(not_found) without driver or card, Error(invalid_argument) for an option that is
  /// none, Error(unsupported) for a card that is too old.
  std::unique_ptr<Backend> (*make_backend)(const CudaOptions& options);
  /// Cards, driver and libraries, or why there are none.
  DeviceInfo (*info)();
  /// See DeviceKind.
  std::vector<std::unique_ptr<Collective>> (*connect)(std::span<Backend* const> cards);
};

/// The one symbol that the library exports has this type.
using CudaPluginFunction = const CudaPlugin*();
inline constexpr const char* kCudaPluginSymbol = "ernie_image_cuda_plugin";

}  // namespace ernie_image
