// One card: its queue, its events, and errors that say what was asked of it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "backend/ascend/symbols.h"

namespace ernie_image::ascend {

/// CANN, initialised for this process. Throws Error(not_found) where there is none. It is never
/// finalised: destructors of statics would run after the libraries' own.
const Cann& initialized_cann();

/// How many cards there are; 0 without CANN.
int device_count();

/// Throws Error(device) with what was attempted and CANN's own message, unless `status` is 0.
void require(aclError status, const std::string& attempted);

/// A queue of the device: what is put in runs in order, later.
class Queue {
 public:
  Queue();
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  aclrtStream get() const { return stream_; }
  /// Throws what went wrong in the queue since the last time.
  void synchronize() const;

 private:
  aclrtStream stream_ = nullptr;
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
  aclrtEvent event_ = nullptr;
  bool recorded_ = false;
};

/// One card, for any thread: each binds itself with `bind` before it calls CANN. Cards are never
/// reset, which would take them from other threads that have bound themselves.
class Device {
 public:
  /// Throws Error(not_found) if there is no such card.
  explicit Device(int index);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  int index() const { return index_; }
  void bind() const;
  /// For destructors: false if the card is gone, and its memory with it.
  bool try_bind() const noexcept;
  std::size_t free_bytes() const;
  std::size_t total_bytes() const;

  /// Keeps the books of what is held through this object.
  void count(std::ptrdiff_t bytes) const;
  std::size_t held_bytes() const { return held_; }
  std::size_t peak_bytes() const { return peak_; }
  void reset_peak() const { peak_ = held_.load(); }

 private:
  int index_;
  mutable std::atomic<std::size_t> held_{0};
  mutable std::atomic<std::size_t> peak_{0};
};

}  // namespace ernie_image::ascend
