#include "backend/cuda/device.h"

#include "ernie_image/error.h"

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

int device_attribute(int index, cudaDeviceAttr attribute) {
  int value = 0;
  require(cudaDeviceGetAttribute(&value, attribute, index),
          "cudaDeviceGetAttribute of cuda:" + std::to_string(index));
  return value;
}

Queue::Queue() {
  require(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
}

Queue::~Queue() {
  cudaStreamSynchronize(stream_);
  cudaStreamDestroy(stream_);
}

void Queue::synchronize() const {
  require(cudaStreamSynchronize(stream_), "waiting for the queue");
}

Event::Event() {
  require(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "creating an event");
}

Event::~Event() { cudaEventDestroy(event_); }

void Event::record(const Queue& queue) {
  require(cudaEventRecord(event_, queue.get()), "recording an event");
  recorded_ = true;
}

void Event::hold(const Queue& queue) const {
  if (recorded_) require(cudaStreamWaitEvent(queue.get(), event_, 0), "holding for an event");
}

void Event::synchronize() const {
  if (recorded_) require(cudaEventSynchronize(event_), "waiting for an event");
}

Device::Device(int index) : index_(index) {
  if (const std::string problem = device_problem(); !problem.empty())
    throw Error(ErrorKind::not_found, "cuda: " + problem);
  if (const int count = device_count(); index < 0 || index >= count) {
    throw Error(ErrorKind::not_found, "there is no device cuda:" + std::to_string(index) +
                                          "; this machine has " + std::to_string(count));
  }
  capability_ = 10 * device_attribute(index, cudaDevAttrComputeCapabilityMajor) +
                device_attribute(index, cudaDevAttrComputeCapabilityMinor);
  multiprocessors_ = device_attribute(index, cudaDevAttrMultiProcessorCount);
  if (capability_ < kFirstCapability) {
    throw Error(ErrorKind::unsupported,
                "cuda:" + std::to_string(index) + " has compute capability " +
                    std::to_string(capability_ / 10) + "." + std::to_string(capability_ % 10) +
                    "; 8.0 (Ampere) or newer is needed");
  }
  bind();
}

void Device::bind() const {
  require(cudaSetDevice(index_), "cudaSetDevice " + std::to_string(index_));
}

std::size_t Device::free_bytes() const {
  std::size_t free = 0, total = 0;
  bind();
  require(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return free;
}

std::size_t Device::total_bytes() const {
  std::size_t free = 0, total = 0;
  bind();
  require(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return total;
}

}  // namespace ernie_image::cuda
