// NVIDIA GPUs as Backends, if libernie_image_cuda.so is there and can be opened.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/cuda/plugin.h"

namespace ernie_image {

/// Throws Error(not_found) that says why there is no such device, and what the library throws.
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options);

/// What is known of the library; without it, `problem` says why.
DeviceInfo cuda_info();

/// A group of backends that are make_cuda_backend's; see DeviceKind.
std::vector<std::unique_ptr<Collective>> connect_cuda_cards(std::span<Backend* const> cards);

/// Where the library is looked for, in order: $ERNIE_IMAGE_CUDA_LIBRARY alone, if that is set;
/// else beside the program (or libernie_image.so) and in the library folder of its installation.
std::vector<std::string> cuda_library_paths();

const DeviceKind& cuda_device();

}  // namespace ernie_image
