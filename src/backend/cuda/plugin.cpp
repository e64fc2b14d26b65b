// What libernie_image_cuda.so shows to the program.
#include "backend/cuda/plugin.h"

#include "backend/cuda/make_backend.h"

namespace ernie_image {
namespace {

constexpr CudaPlugin kPlugin = {ERNIE_IMAGE_CUDA_ABI, cuda::make_backend, cuda::device_info,
                                cuda::connect_cards};

}  // namespace
}  // namespace ernie_image

extern "C" __attribute__((visibility("default"))) const ernie_image::CudaPlugin*
ernie_image_cuda_plugin();

const ernie_image::CudaPlugin* ernie_image_cuda_plugin() { return &ernie_image::kPlugin; }
