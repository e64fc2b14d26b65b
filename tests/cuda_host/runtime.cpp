// The calls of the CUDA runtime, on cards of ordinary memory: one, or $CUDA_HOST_DEVICES, whose
// books are one. What is queued is done at once, unless the stream records a graph.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "books.h"
#include "cuda_runtime.h"
#include "stream.h"

struct cuda_host_graph {
  std::vector<std::function<void()>> work;
};
struct cuda_host_event {
  bool timed = false;
  std::optional<std::chrono::steady_clock::time_point> passed;
};

namespace cuda_host {
void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& kernel);
}

namespace {

std::mutex mutex;
std::map<void*, std::size_t> blocks;  // of the card, by address
/// $CUDA_HOST_IDLE=1 does no work and touches no memory: the books of large runs are kept quickly.
const bool idle = std::getenv("CUDA_HOST_IDLE") != nullptr;
const int devices = [] {
  const char* const given = std::getenv("CUDA_HOST_DEVICES");
  return given == nullptr ? 1 : std::atoi(given);
}();
thread_local int current_device = 0;

bool is_device(int device) { return device >= 0 && device < devices; }
CudaHostBooks books{std::uint64_t{idle ? 64u : 8u} << 30, 0, 0, 0, 0};

cudaError_t put(cudaStream_t stream, std::function<void()> work) {
  if (idle) return cudaSuccess;
  if (stream->recording != nullptr) {
    stream->recording->work.push_back(std::move(work));
  } else {
    work();
  }
  return cudaSuccess;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) CudaHostBooks* cuda_host_books() {
  return &books;
}

cudaError_t cuda_host::run(dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream,
                           std::function<void()> kernel) {
  const std::size_t threads = std::size_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.y > 65535 || grid.z > 65535 || shared_bytes > 227 * 1024)
    return cudaErrorInvalidValue;
  return put(stream, [grid, block, shared_bytes, kernel = std::move(kernel)] {
    run_grid(grid, block, shared_bytes, kernel);
  });
}

cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorName(cudaError_t) { return "cudaError"; }
const char* cudaGetErrorString(cudaError_t) { return "an error of the stand-in"; }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = devices;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (!is_device(device)) return cudaErrorInvalidDevice;
  *value = attribute == cudaDevAttrMultiProcessorCount      ? 4
           : attribute == cudaDevAttrComputeCapabilityMajor ? 9
                                                            : 0;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (!is_device(device)) return cudaErrorInvalidDevice;
  std::snprintf(properties->name, sizeof(properties->name), "stand-in on the processor");
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (!is_device(device)) return cudaErrorInvalidDevice;
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const std::lock_guard lock(mutex);
  *free = books.capacity_bytes - books.bytes_in_use;
  *total = books.capacity_bytes;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  constexpr std::size_t kAlignment = 256;  // as CUDA promises
  const std::lock_guard lock(mutex);
  if (bytes > books.capacity_bytes - books.bytes_in_use) return cudaErrorMemoryAllocation;
  *memory = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (*memory == nullptr) return cudaErrorMemoryAllocation;
  if (!idle) std::memset(*memory, 0xff, bytes);  // NaN
  blocks[*memory] = bytes;
  books.bytes_in_use += bytes;
  books.peak_bytes = std::max(books.peak_bytes, books.bytes_in_use);
  ++books.allocations;
  return cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  const std::lock_guard lock(mutex);
  const auto found = blocks.find(memory);
  if (found == blocks.end()) return cudaErrorInvalidValue;
  books.bytes_in_use -= found->second;
  if (!idle) std::memset(memory, 0xff, found->second);
  blocks.erase(found);
  std::free(memory);
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  *memory = std::malloc(bytes);
  return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new cuda_host_stream{nullptr, current_device};
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return stream->recording == nullptr ? cudaSuccess : cudaErrorStreamCaptureUnsupported;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new cuda_host_event{(flags & cudaEventDisableTiming) == 0, {}};
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->passed = std::chrono::steady_clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  for (const cudaEvent_t event : {begin, end})
    if (!event->timed || !event->passed) return cudaErrorInvalidResourceHandle;
  *milliseconds = std::chrono::duration<float, std::milli>(*end->passed - *begin->passed).count();
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* target, const void* source, std::size_t bytes,
                            cudaMemcpyKind kind, cudaStream_t stream) {
  if (idle && kind == cudaMemcpyDeviceToHost) std::memset(target, 0, bytes);
  return put(stream, [=] { std::memcpy(target, source, bytes); });
}
cudaError_t cudaMemcpy2DAsync(void* target, std::size_t target_pitch, const void* source,
                              std::size_t source_pitch, std::size_t width, std::size_t height,
                              cudaMemcpyKind, cudaStream_t stream) {
  if (width > target_pitch || width > source_pitch) return cudaErrorInvalidValue;
  return put(stream, [=] {
    for (std::size_t i = 0; i < height; ++i) {
      std::memcpy(static_cast<std::byte*>(target) + i * target_pitch,
                  static_cast<const std::byte*>(source) + i * source_pitch, width);
    }
  });
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status =
      stream->recording == nullptr ? cudaStreamCaptureStatusNone : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->recording = new cuda_host_graph;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = stream->recording;
  stream->recording = nullptr;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = new cuda_host_graph(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  ++books.graph_launches;
  for (const auto& work : executable->work) work();
  return cudaSuccess;
}
