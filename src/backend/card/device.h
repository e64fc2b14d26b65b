// One card as the host sees it: what a vendor's runtime does for queues, events, memory and copies,
// behind one interface, so that all that decides what is on the card when is written once.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace ernie_image::card {

/// A queue or an event as the vendor's runtime knows it: a pointer to something of its own.
using Handle = void*;

/// One card, for any thread: each binds itself with `bind` before it asks for anything else. What
/// fails throws Error(device) with what was attempted and the vendor's words; what destructors call
/// is noexcept, and does nothing if the card is gone.
class Device {
 public:
  /// "cuda"; kernels may read so many bytes past the end of what they are given.
  Device(std::string kind, int index, std::size_t spare_bytes = 0)
      : kind_(std::move(kind)), index_(index), spare_bytes_(spare_bytes) {}
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  int index() const { return index_; }
  const std::string& kind() const { return kind_; }
  /// "cuda:0"
  std::string name() const { return kind_ + ":" + std::to_string(index_); }
  std::size_t spare_bytes() const { return spare_bytes_; }

  /// Whether nothing is done that is asked for: there is no memory behind its addresses.
  virtual bool rehearses() const { return false; }

  virtual void bind() const = 0;
  virtual bool try_bind() const noexcept = 0;

  struct Memory {
    std::size_t free_bytes, total_bytes;
  };
  virtual Memory memory() const = 0;
  std::size_t free_bytes() const { return memory().free_bytes; }
  std::size_t total_bytes() const { return memory().total_bytes; }

  /// Null if there is not so much.
  virtual void* allocate(std::size_t bytes) const = 0;
  virtual void free(void* memory) const noexcept = 0;
  /// Host memory from which the card copies by itself.
  virtual void* allocate_pinned(std::size_t bytes) const = 0;
  virtual void free_pinned(void* memory) const noexcept = 0;

  virtual Handle make_queue() const = 0;
  virtual void destroy_queue(Handle queue) const noexcept = 0;
  virtual void wait_for_queue(Handle queue) const = 0;
  virtual void try_wait_for_queue(Handle queue) const noexcept = 0;
  /// Throws if work of this kind cannot be queued now, because the queue is being recorded.
  virtual void require_not_recording(Handle /*queue*/, const char* /*what*/) const {}

  virtual Handle make_event(bool timed) const = 0;
  virtual void destroy_event(Handle event) const noexcept = 0;
  virtual void record_event(Handle event, Handle queue) const = 0;
  /// Holds the queue, not the caller.
  virtual void hold_queue(Handle queue, Handle event) const = 0;
  virtual void wait_for_event(Handle event) const = 0;
  /// Between two timed events that have passed.
  virtual double seconds_between(Handle begin, Handle end) const = 0;

  /// From pinned memory to the card, in the order of the queue.
  virtual void copy_in(std::byte* target, const std::byte* source, std::size_t bytes,
                       Handle queue) const = 0;
  /// From the card to any memory, when all that was queued is done.
  virtual void copy_out(std::byte* target, const std::byte* source, std::size_t bytes,
                        Handle queue) const = 0;

  /// Keeps the books of what is held through this object.
  void count(std::ptrdiff_t bytes) const;
  std::size_t held_bytes() const { return held_; }
  std::size_t peak_bytes() const { return peak_; }
  void reset_peak() const { peak_ = held_.load(); }
  /// So much is to be held at most, which may be less than the card has: rather let go of what is
  /// kept for later.
  void set_room(std::size_t bytes) const { room_ = bytes; }
  bool has_room(std::size_t bytes) const { return bytes <= room_ && held_ <= room_ - bytes; }

 private:
  std::string kind_;
  int index_;
  std::size_t spare_bytes_;
  mutable std::atomic<std::size_t> held_{0};
  mutable std::atomic<std::size_t> peak_{0};
  mutable std::atomic<std::size_t> room_{SIZE_MAX};
};

/// What is put in runs in order, later.
class Queue {
 public:
  explicit Queue(const Device& device) : device_(device), handle_(device.make_queue()) {}
  ~Queue() { device_.destroy_queue(handle_); }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  Handle handle() const { return handle_; }
  /// Throws what went wrong in the queue since the last time.
  void synchronize() const { device_.wait_for_queue(handle_); }
  /// For destructors.
  void try_synchronize() const noexcept { device_.try_wait_for_queue(handle_); }

 private:
  const Device& device_;
  Handle handle_;
};

/// A mark in a queue.
class Event {
 public:
  explicit Event(const Device& device, bool timed = false)
      : device_(device), handle_(device.make_event(timed)) {}
  ~Event() { device_.destroy_event(handle_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(const Queue& queue);
  /// Holds `queue`, not the caller, until the mark is passed. Nothing if never recorded.
  void hold(const Queue& queue) const;
  void synchronize() const;
  /// Between two timed events that have passed.
  double seconds_since(const Event& begin) const;

 private:
  const Device& device_;
  Handle handle_;
  bool recorded_ = false;
};

}  // namespace ernie_image::card
