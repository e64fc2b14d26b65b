#include <cublasLt.h>
#include <cuda_runtime.h>
#include <cudnn.h>

#include "backend/cuda/make_backend.h"

namespace ernie_image::cuda {
namespace {

std::string version(std::size_t major, std::size_t minor, std::size_t patch) {
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
}

}  // namespace

std::vector<std::string> library_versions() {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const auto two_parts = [](int number) {
    return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
  };
  const std::size_t cudnn = cudnnGetVersion(), cublas = cublasLtGetVersion();
  return {driver == 0 ? std::string("driver: none") : "driver: for CUDA up to " + two_parts(driver),
          "CUDA runtime " + two_parts(runtime),
          "cuBLASLt " + version(cublas / 10000, cublas / 100 % 100, cublas % 100),
          "cuDNN " + version(cudnn / 10000, cudnn / 100 % 100, cudnn % 100)};
}

}  // namespace ernie_image::cuda
