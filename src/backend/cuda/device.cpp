#include "backend/cuda/device.h"

#include <algorithm>

namespace ernie_image::cuda {
namespace {

constexpr int kFirstCapability = 80;

std::string words(cudaError_t status) {
  return std::string(cudaGetErrorName(status)) + " (" + std::to_string(int(status)) +
         "): " + cudaGetErrorString(status);
}

/// "13.0" of 13000
std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// Properties of card `index`.
int device_attribute(int index, cudaDeviceAttr attribute) {
  int value = 0;
  require(cudaDeviceGetAttribute(&value, attribute, index),
          "cudaDeviceGetAttribute of cuda:" + std::to_string(index));
  return value;
}

cudaEvent_t as_event(card::Handle event) { return static_cast<cudaEvent_t>(event); }

}  // namespace

void require(cudaError_t status, const std::string& attempted) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // what is not sticky is forgotten, so that the next call is not blamed
  const ErrorKind kind =
      status == cudaErrorMemoryAllocation ? ErrorKind::out_of_memory : ErrorKind::device;
  throw Error(kind, "cuda: " + attempted + " failed with " + words(status));
}

std::string device_problem() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return "";
  cudaGetLastError();
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) {
    return "there is no NVIDIA driver (libcuda.so.1), or it is broken: " + words(status) +
           "; install one for CUDA " + version_text(runtime) + " or newer";
  }
  if (status == cudaErrorInsufficientDriver) {
    return "the NVIDIA driver is for CUDA " + version_text(driver) + ", this build needs " +
           version_text(runtime) + " or newer: " + words(status);
  }
  if (status == cudaSuccess || status == cudaErrorNoDevice) {
    return "the NVIDIA driver finds no GPU; see nvidia-smi and CUDA_VISIBLE_DEVICES";
  }
  return "the GPUs cannot be counted: " + words(status);
}

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

int capability_of(int index) {
  return 10 * device_attribute(index, cudaDevAttrComputeCapabilityMajor) +
         device_attribute(index, cudaDevAttrComputeCapabilityMinor);
}

Device::Device(int index) : card::Device("cuda", index) {
  if (const std::string problem = device_problem(); !problem.empty())
    throw Error(ErrorKind::not_found, "cuda: " + problem);
  if (const int count = device_count(); index < 0 || index >= count) {
    throw Error(ErrorKind::not_found, "there is no device cuda:" + std::to_string(index) +
                                          "; this machine has " + std::to_string(count));
  }
  const int capability = capability_of(index);
  if (capability < kFirstCapability) {
    throw Error(ErrorKind::unsupported,
                name() + " has compute capability " + std::to_string(capability / 10) + "." +
                    std::to_string(capability % 10) + "; 8.0 (Ampere) or newer is needed");
  }
  bind();
}

void Device::bind() const {
  require(cudaSetDevice(index()), "cudaSetDevice " + std::to_string(index()));
}

bool Device::try_bind() const noexcept { return cudaSetDevice(index()) == cudaSuccess; }

Device::Memory Device::memory() const {
  Memory memory{};
  bind();
  require(cudaMemGetInfo(&memory.free_bytes, &memory.total_bytes), "cudaMemGetInfo");
  return memory;
}

void* Device::allocate(std::size_t bytes) const {
  void* memory = nullptr;
  if (cudaMalloc(&memory, std::max<std::size_t>(bytes, 1)) == cudaSuccess) return memory;
  cudaGetLastError();
  return nullptr;
}

void Device::free(void* memory) const noexcept {
  if (try_bind()) cudaFree(memory);
}

void* Device::allocate_pinned(std::size_t bytes) const {
  void* memory = nullptr;
  require(cudaMallocHost(&memory, bytes), "pinning " + std::to_string(bytes) + " bytes");
  return memory;
}

void Device::free_pinned(void* memory) const noexcept { cudaFreeHost(memory); }

card::Handle Device::make_queue() const {
  cudaStream_t queue = nullptr;
  require(cudaStreamCreateWithFlags(&queue, cudaStreamNonBlocking), "creating a stream");
  return queue;
}

void Device::destroy_queue(card::Handle queue) const noexcept {
  try_wait_for_queue(queue);
  cudaStreamDestroy(cuda_stream(queue));
}

void Device::wait_for_queue(card::Handle queue) const {
  require(cudaStreamSynchronize(cuda_stream(queue)), "waiting for the queue");
}

void Device::try_wait_for_queue(card::Handle queue) const noexcept {
  if (try_bind()) cudaStreamSynchronize(cuda_stream(queue));
}

void Device::require_not_recording(card::Handle queue, const char* what) const {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  require(cudaStreamIsCapturing(cuda_stream(queue), &status), "cudaStreamIsCapturing");
  if (status != cudaStreamCaptureStatusNone)
    throw NotRecordable(std::string("cuda: ") + what + " cannot be part of a recorded step");
}

card::Handle Device::make_event(bool timed) const {
  cudaEvent_t event = nullptr;
  require(cudaEventCreateWithFlags(&event, timed ? cudaEventDefault : cudaEventDisableTiming),
          "creating an event");
  return event;
}

void Device::destroy_event(card::Handle event) const noexcept { cudaEventDestroy(as_event(event)); }

void Device::record_event(card::Handle event, card::Handle queue) const {
  require(cudaEventRecord(as_event(event), cuda_stream(queue)), "recording an event");
}

void Device::hold_queue(card::Handle queue, card::Handle event) const {
  require(cudaStreamWaitEvent(cuda_stream(queue), as_event(event), 0), "holding for an event");
}

void Device::wait_for_event(card::Handle event) const {
  require(cudaEventSynchronize(as_event(event)), "waiting for an event");
}

double Device::seconds_between(card::Handle begin, card::Handle end) const {
  float milliseconds = 0;
  require(cudaEventElapsedTime(&milliseconds, as_event(begin), as_event(end)), "timing events");
  return double{milliseconds} / 1000;
}

void Device::copy_in(std::byte* target, const std::byte* source, std::size_t bytes,
                     card::Handle queue) const {
  require(cudaMemcpyAsync(target, source, bytes, cudaMemcpyHostToDevice, cuda_stream(queue)),
          "copying " + std::to_string(bytes) + " bytes to the device");
}

void Device::copy_out(std::byte* target, const std::byte* source, std::size_t bytes,
                      card::Handle queue) const {
  require(cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToHost, cuda_stream(queue)),
          "copying " + std::to_string(bytes) + " bytes from the device");
  wait_for_queue(queue);
}

}  // namespace ernie_image::cuda
