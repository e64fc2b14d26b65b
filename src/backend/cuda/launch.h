// How kernels are started. tests/cuda_host has a cuda_runtime.h of its own, which runs the same
// kernels on the processor. For files that nvcc compiles.
#pragma once

#include <cstdint>
#include <string>

#include "backend/cuda/device.h"

namespace ernie_image::cuda {

/// Grid and block of a kernel whose `count` pieces of work take one thread each.
inline unsigned int blocks_for(std::int64_t count, std::int64_t per_block) {
  return static_cast<unsigned int>((count + per_block - 1) / per_block);
}

template <typename... Parameters, typename... Arguments>
void launch(const char* what, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            std::size_t shared_bytes, cudaStream_t stream, Arguments... arguments) {
  if (is_rehearsed(stream)) return;
#ifdef __CUDACC__
  // Beyond 48 KiB, with what the kernel declares itself, it has to be told that it may.
  if (shared_bytes > 40 * 1024) {
    require(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                 cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared_bytes)),
            std::string(what) + ": shared memory of " + std::to_string(shared_bytes) + " bytes");
  }
  kernel<<<grid, block, shared_bytes, stream>>>(arguments...);
  const cudaError_t status = cudaGetLastError();
#else
  const cudaError_t status = cuda_host::run(grid, block, shared_bytes, stream,
                                            [kernel, arguments...] { kernel(arguments...); });
#endif
  if (status != cudaSuccess) {
    require(status, std::string(what) + " of " + std::to_string(grid.x) + " x " +
                        std::to_string(grid.y) + " x " + std::to_string(grid.z) + " blocks of " +
                        std::to_string(block.x) + " threads");
  }
}

}  // namespace ernie_image::cuda
