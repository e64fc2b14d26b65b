// Where jobs wait, are worked on and are kept: one interface for a single process (SQLite) and for
// a fleet (Redis).
//
// Delivery is at least once. A job whose worker dies goes back to the queue and, its seeds being
// fixed, makes the same pictures again; of two results for one job the first is kept, so clients
// see each job end exactly once.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ernie_image/error.h"
#include "jobs/batch_limit.h"
#include "jobs/job.h"

namespace ernie_image {

/// Bytes of a picture file or of a trace.
using Bytes = std::string;

struct JobFilter {
  std::optional<std::string> owner = {};  ///< nothing: everybody's, waiting and running ones alone
  std::optional<JobState> state = {};
  std::string before = {};  ///< an id: only jobs older than that one
  int limit = 50;
  bool oldest_first = false;  ///< for those whose turn comes first; `before` must be empty then
};

struct FinishedImage {
  JobImage image;
  Bytes bytes;
};

/// What a worker hands in.
struct JobResult {
  std::string enhanced_prompt;
  int prompt_tokens = 0;
  std::vector<FinishedImage> images;
  Bytes trace;  ///< Chrome trace JSON; empty without one
};

/// PNG files of the picture and the mask that a job begins with, at the size of the result; empty
/// without them. They are kept until the job is final.
struct JobInputs {
  Bytes image;
  Bytes mask;  ///< grey
};

/// A worker as the others see it.
struct WorkerInfo {
  std::string name;  ///< unique in the fleet
  std::string model;
  std::string device;
  bool has_enhancer = false;
  Request defaults{.guidance_scale = 1.0};  ///< options of requests that leave them open
  int size_multiple_px = 16;
  std::string current_job;        ///< empty: idle
  std::int64_t last_seen_ms = 0;  ///< since 1970, by the store's clock, which sets it
  double seconds_per_step = 0;    ///< of the last job; 0: none yet
  double pixels_per_second = 0;   ///< in a step, of the last job; 0: none yet
};

struct QueueCounts {
  int queued = 0;
  int running = 0;
};

/// What `submit` throws when as many jobs wait as may. `retry_after` is an estimate of when a place
/// will be free.
class QueueFull : public Error {
 public:
  QueueFull(const std::string& message, std::chrono::seconds retry_after)
      : Error(ErrorKind::unsupported, message), retry_after_(retry_after) {}
  std::chrono::seconds retry_after() const noexcept { return retry_after_; }

 private:
  std::chrono::seconds retry_after_;
};

/// The store cannot be reached, or is not ready: worth another try.
class StoreUnavailable : public Error {
 public:
  explicit StoreUnavailable(const std::string& message) : Error(ErrorKind::device, message) {}
};

/// The store does not let us in, and will not as long as nobody changes something.
class StoreRefused : public Error {
 public:
  explicit StoreRefused(const std::string& message) : Error(ErrorKind::device, message) {}
};

/// What is thrown for a job whose record cannot be read. It has been moved aside: no list has it,
/// no worker gets it, and it can be removed. The message names no file.
class DamagedJob : public Error {
 public:
  DamagedJob(const std::string& id, std::string owner)
      : Error(ErrorKind::corrupt_file,
              "the record of job " + id + " is damaged; it can be deleted"),
        owner_(std::move(owner)) {}
  /// As far as it could be read.
  const std::string& owner() const noexcept { return owner_; }

 private:
  std::string owner_;
};

/// Safe to call from any thread. Every function throws Error(ErrorKind::device) if the store cannot
/// be reached, and what takes an id or finds a job by its key DamagedJob.
class JobQueue {
 public:
  virtual ~JobQueue() = default;

  // --- for those who ask
  // -------------------------------------------------------------------------------------------

  /// Takes the job over durably: once this returns, it will end once, whatever process dies. A job
  /// with the same `idempotency_key` of the same owner is given back instead of a new one. Throws
  /// QueueFull.
  virtual Job submit(const JobRequest& request, const std::string& owner,
                     const std::string& idempotency_key = {}, const JobInputs& inputs = {}) = 0;

  virtual std::optional<Job> find(const std::string& id) = 0;

  /// What was submitted with that key; nothing for an empty or new one.
  virtual std::optional<Job> find_by_key(const std::string& owner,
                                         const std::string& idempotency_key) = 0;

  /// The same, and nothing for a damaged one: for those who only look around.
  std::optional<Job> find_readable(const std::string& id) {
    try {
      return find(id);
    } catch (const DamagedJob&) {
      return std::nullopt;
    }
  }

  /// Newest first, without damaged ones.
  virtual std::vector<Job> list(const JobFilter& filter) = 0;

  /// Returns the job as soon as its version is above `version`, or as it is after `timeout`;
  /// nothing if there is none.
  virtual std::optional<Job> wait(const std::string& id, std::int64_t version,
                                  std::chrono::milliseconds timeout) = 0;

  /// A job is cancelled at once if it waits or nothing has been done of it yet, else within a step.
  /// False if it was final already or is unknown.
  virtual bool cancel(const std::string& id) = 0;

  /// Forgets a final or damaged job and its pictures. False if it is unknown or not final.
  virtual bool remove(const std::string& id) = 0;

  /// Forgets one picture of a final job, whose others keep their numbers. False if there is none.
  virtual bool remove_image(const std::string& id, int index) = 0;

  /// Bytes of a finished picture's file; nothing if there is none.
  virtual std::optional<Bytes> image(const std::string& id, int index) = 0;

  /// The newest preview (JPEG) of a running job; nothing if there is none.
  virtual std::optional<Bytes> preview(const std::string& id) = 0;

  /// Chrome trace of a completed job that asked for one.
  virtual std::optional<Bytes> trace(const std::string& id) = 0;

  virtual QueueCounts counts() = 0;

  /// Those heard of within the last half minute.
  virtual std::vector<WorkerInfo> workers() = 0;

  // --- for workers
  // -------------------------------------------------------------------------------------------------

  /// Says that this worker lives and what it does; called every few seconds.
  virtual void announce(const WorkerInfo& worker) = 0;

  /// Takes the next jobs for the worker's model: highest priority first, then by turns between
  /// owners. More than one only if all can share a batch (kind, size, steps, guidance equal), their
  /// pictures are within `limit` for their size, and no other worker of the model is left without
  /// its share of what waits. Waits up to `timeout`; empty if there is none.
  virtual std::vector<Job> claim(const WorkerInfo& worker, const BatchLimit& limit,
                                 std::chrono::milliseconds timeout) = 0;

  /// What a job that is not final begins with.
  virtual JobInputs inputs(const std::string& id) = 0;

  /// Tells how far a claimed job is, and keeps the claim alive: to be called at least every
  /// `kHeartbeat`. A preview that is not empty replaces the last one. False if the job is to be
  /// stopped: cancelled, or no longer this worker's.
  virtual bool report(const std::string& id, const std::string& worker, const JobProgress& progress,
                      const Bytes& preview = {}) = 0;

  /// Stores the result, then the state. Does nothing if the job is final already. Throws Error(io |
  /// not_found) and the like if it cannot be stored, and leaves the job claimed.
  virtual void complete(const std::string& id, const std::string& worker,
                        const JobResult& result) = 0;

  /// Ends a claimed job as failed, or as cancelled if that was asked for.
  virtual void fail(const std::string& id, const std::string& worker,
                    const JobFailure& failure) = 0;

  /// Puts a claimed job back, first in line; it does not count as an attempt. For a worker that
  /// must stop.
  virtual void release(const std::string& id, const std::string& worker) = 0;
};

inline constexpr std::chrono::seconds kHeartbeat{5};
/// A claim not heard of for so long is another worker's to take.
inline constexpr std::chrono::seconds kClaimExpiry{30};
/// So often a job may lose its worker before it fails as "worker_lost".
inline constexpr int kMaxAttempts = 3;

}  // namespace ernie_image
