// Which queue, where it keeps what, and its limits.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "jobs/job_queue.h"

namespace ernie_image {

struct QueueOptions {
  /// redis://[[user]:password@]host[:port][/database] or unix:///path/of/socket: a queue in Redis;
  /// empty: one for this process alone
  std::string url;
  /// Of Redis, where `url` has none
  std::string password;
  /// Where the queue for one process is: a SQLite file, so that accepted jobs survive; ":memory:":
  /// not
  std::string jobs_db = ":memory:";
  /// Where pictures go, as `<job id>_<index>.<ext>`; empty: into the database, or through Redis
  std::string output_directory;
  /// Waiting jobs; with as many `submit` throws QueueFull
  int max_queued = 256;
  /// Finished jobs that are kept; the oldest are forgotten, with their pictures. 0: all, or
  /// `kMaxFinishedInMemory` of them where they are held in memory
  int max_finished = 0;
  /// See kClaimExpiry; tests have less patience.
  std::chrono::milliseconds claim_expiry = kClaimExpiry;
  /// Waiting jobs whose model no worker has had for so long fail; 0: they wait for ever
  std::chrono::milliseconds orphan_timeout = std::chrono::hours(24);
  /// How long a call tries again while Redis is away; long enough for one that is restarted.
  /// Threads may have less (StorePatience)
  std::chrono::milliseconds patience{15000};
  /// How long Redis keeps finished jobs, and pictures for which there is no directory
  std::chrono::seconds result_expiry = std::chrono::hours(24);
  /// What every Redis key begins with
  std::string key_prefix = "ernie-image";
};

inline constexpr int kMaxFinishedInMemory = 1000;

/// Throws Error(invalid_argument) for an address it cannot read, Error(device) if there is nobody,
/// and what SqliteQueue throws.
std::unique_ptr<JobQueue> open_queue(const QueueOptions& options);

}  // namespace ernie_image
