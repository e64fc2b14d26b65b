// A card through the CUDA runtime, and errors that say what was asked of it.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string>

#include "backend/card/device.h"
#include "core/tensor.h"
#include "ernie_image/error.h"

namespace ernie_image::cuda {

/// Throws Error(device), or Error(out_of_memory), with what was attempted and CUDA's own words,
/// unless `status` is 0.
void require(cudaError_t status, const std::string& attempted);

/// Why there is no card to be had; empty if there is one.
std::string device_problem();

/// How many cards there are; 0 without a driver.
int device_count();

/// Thrown where work that cannot be recorded meets a recording: an upload, a wait.
class NotRecordable : public Error {
 public:
  explicit NotRecordable(const std::string& what) : Error(ErrorKind::unsupported, what) {}
};

class Device : public card::Device {
 public:
  /// Throws Error(not_found) if there is no such card, Error(unsupported) if it is older than
  /// compute capability 8.0, the first with bf16.
  explicit Device(int index);

  void bind() const override;
  bool try_bind() const noexcept override;
  Memory memory() const override;
  void* allocate(std::size_t bytes) const override;
  void free(void* memory) const noexcept override;
  void* allocate_pinned(std::size_t bytes) const override;
  void free_pinned(void* memory) const noexcept override;
  card::Handle make_queue() const override;
  void destroy_queue(card::Handle queue) const noexcept override;
  void wait_for_queue(card::Handle queue) const override;
  void try_wait_for_queue(card::Handle queue) const noexcept override;
  void require_not_recording(card::Handle queue, const char* what) const override;
  card::Handle make_event(bool timed) const override;
  void destroy_event(card::Handle event) const noexcept override;
  void record_event(card::Handle event, card::Handle queue) const override;
  void hold_queue(card::Handle queue, card::Handle event) const override;
  void wait_for_event(card::Handle event) const override;
  double seconds_between(card::Handle begin, card::Handle end) const override;
  void copy_in(std::byte* target, const std::byte* source, std::size_t bytes,
               card::Handle queue) const override;
  void copy_out(std::byte* target, const std::byte* source, std::size_t bytes,
                card::Handle queue) const override;
};

inline cudaStream_t cuda_stream(card::Handle queue) { return static_cast<cudaStream_t>(queue); }
inline cudaStream_t cuda_stream(const card::Queue& queue) { return cuda_stream(queue.handle()); }

/// A rehearsal's queue is an address of this: kernels are not started.
inline bool is_rehearsed(cudaStream_t stream) { return is_booked(stream); }

/// 90 for 9.0
int capability_of(int index);

}  // namespace ernie_image::cuda
