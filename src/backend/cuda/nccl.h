// NCCL, the library by which NVIDIA GPUs send each other tensors: found by name at run time, so
// that libernie_image_cuda.so opens where it is not installed.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string>

namespace ernie_image::cuda {

// As nccl.h of 2.x has them; tests/cuda_host/check_nccl.cpp holds them against a real one.
enum NcclResult : int { kNcclSuccess = 0 };
enum NcclDataType : int { kNcclFloat32 = 7, kNcclBfloat16 = 9 };
enum NcclReduction : int { kNcclSum = 0 };
struct NcclCommunicator;
using NcclHandle = NcclCommunicator*;

/// X(result, name, parameters): libnccl.so.2
#define ERNIE_IMAGE_NCCL(X)                                                                       \
  X(NcclResult, ncclCommInitAll, (NcclHandle * communicators, int count, const int* cards))       \
  X(NcclResult, ncclCommDestroy, (NcclHandle communicator))                                       \
  X(NcclResult, ncclCommAbort, (NcclHandle communicator))                                         \
  X(NcclResult, ncclGroupStart, ())                                                               \
  X(NcclResult, ncclGroupEnd, ())                                                                 \
  X(NcclResult, ncclSend,                                                                         \
    (const void* source, std::size_t count, NcclDataType type, int peer, NcclHandle communicator, \
     cudaStream_t stream))                                                                        \
  X(NcclResult, ncclRecv,                                                                         \
    (void* target, std::size_t count, NcclDataType type, int peer, NcclHandle communicator,       \
     cudaStream_t stream))                                                                        \
  X(NcclResult, ncclAllGather,                                                                    \
    (const void* source, void* target, std::size_t source_count, NcclDataType type,               \
     NcclHandle communicator, cudaStream_t stream))                                               \
  X(NcclResult, ncclAllReduce,                                                                    \
    (const void* source, void* target, std::size_t count, NcclDataType type,                      \
     NcclReduction operation, NcclHandle communicator, cudaStream_t stream))                      \
  X(const char*, ncclGetErrorString, (NcclResult code))                                           \
  X(const char*, ncclGetLastError, (NcclHandle communicator))

struct Nccl {
#define ERNIE_IMAGE_FUNCTION(result, name, parameters) result(*name) parameters = nullptr;
  ERNIE_IMAGE_NCCL(ERNIE_IMAGE_FUNCTION)
#undef ERNIE_IMAGE_FUNCTION
  std::string problem;  ///< why it cannot be used; empty if it can
};

/// Opened by the first call, for good.
const Nccl& nccl();

}  // namespace ernie_image::cuda
