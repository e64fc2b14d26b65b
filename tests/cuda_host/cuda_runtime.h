// Found in place of the CUDA toolkit's header of that name, so that src/backend/cuda compiles for
// the processor: its kernels run thread by thread, its calls on ordinary memory. What this shows is
// arithmetic, indexing, barriers that all threads reach, the order of calls, and what is recorded
// in a graph; what it cannot show are races, speed, and what a GPU does differently from its
// manual.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(threads)

// ---- types and calls of the runtime ----------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorStreamCaptureUnsupported = 900,
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor,
};
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive };
enum cudaStreamCaptureMode { cudaStreamCaptureModeRelaxed };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDefault = 0, cudaEventDisableTiming = 2;

struct cuda_host_stream;
struct cuda_host_graph;
struct cuda_host_event;
using cudaStream_t = cuda_host_stream*;
using cudaEvent_t = cuda_host_event*;
using cudaGraph_t = cuda_host_graph*;
using cudaGraphExec_t = cuda_host_graph*;
struct cudaDeviceProp {
  char name[256];
};

cudaError_t cudaGetLastError();
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);
cudaError_t cudaMalloc(void** memory, std::size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaMallocHost(void** memory, std::size_t bytes);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end);
cudaError_t cudaMemcpyAsync(void* target, const void* source, std::size_t bytes,
                            cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemcpy2DAsync(void* target, std::size_t target_pitch, const void* source,
                              std::size_t source_pitch, std::size_t width, std::size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);

// ---- kernels ---------------------------------------------------------------------------------

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3() = default;
  // As CUDA's: a number is a dim3.
  dim3(unsigned x_size, unsigned y_size = 1, unsigned z_size = 1)  // NOLINT
      : x(x_size), y(y_size), z(z_size) {}
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_host {

/// Runs the kernel now, or adds it to the graph that the stream records.
cudaError_t run(dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream,
                std::function<void()> kernel);

void* dynamic_shared();
/// Waits for the other threads of the block, or of the warp.
void block_barrier();
void warp_barrier();
/// Eight words of a lane of this thread's warp, for the others to read.
std::uint64_t* lane_words(int lane);
int own_lane();

void mma_16x8x16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]);
void load_transposed(std::uint32_t (&r)[4], const void* row);

}  // namespace cuda_host

inline void __syncthreads() { cuda_host::block_barrier(); }

template <typename T>
T __shfl_xor_sync(unsigned /*mask*/, T value, int partner) {
  const int lane = cuda_host::own_lane();
  std::memcpy(cuda_host::lane_words(lane), &value, sizeof(T));
  cuda_host::warp_barrier();
  T result;
  std::memcpy(&result, cuda_host::lane_words(lane ^ partner), sizeof(T));
  cuda_host::warp_barrier();
  return result;
}

/// Four products of signed bytes.
inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 4; ++i) {
    const auto byte = [i](int word) {
      return static_cast<std::int8_t>(static_cast<unsigned>(word) >> (8 * i) & 0xffu);
    };
    sum += byte(a) * byte(b);
  }
  return sum;
}
