// One card: its queue, its events, and errors that say what was asked of it.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string>

namespace ernie_image::cuda {

/// Throws Error(device), or Error(out_of_memory), with what was attempted and CUDA's own words,
/// unless `status` is 0.
void require(cudaError_t status, const std::string& attempted);

/// Why there is no card to be had; empty if there is one.
std::string device_problem();

/// How many cards there are; 0 without a driver.
int device_count();

/// A queue of the device: what is put in runs in order, later.
class Queue {
 public:
  Queue();
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  cudaStream_t get() const { return stream_; }
  /// Throws what went wrong in the queue since the last time.
  void synchronize() const;

 private:
  cudaStream_t stream_ = nullptr;
};

/// A mark in a queue.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(const Queue& queue);
  /// Holds `queue`, not the caller, until the mark is passed. Nothing if never recorded.
  void hold(const Queue& queue) const;
  void synchronize() const;

 private:
  cudaEvent_t event_ = nullptr;
  bool recorded_ = false;
};

/// One card, for any thread: each binds itself with `bind` before it calls CUDA.
class Device {
 public:
  /// Throws Error(not_found) if there is no such card, Error(unsupported) if it is older than
  /// compute capability 8.0, the first with bf16.
  explicit Device(int index);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  int index() const { return index_; }
  /// 90 for 9.0
  int capability() const { return capability_; }
  int multiprocessors() const { return multiprocessors_; }
  void bind() const;
  std::size_t free_bytes() const;
  std::size_t total_bytes() const;

 private:
  int index_;
  int capability_ = 0;
  int multiprocessors_ = 0;
};

/// An attribute of card `index`.
int device_attribute(int index, cudaDeviceAttr attribute);

}  // namespace ernie_image::cuda
