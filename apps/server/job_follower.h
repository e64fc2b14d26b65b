// What is new about a job since last asked, for those who stream it.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "jobs/job_queue.h"

namespace ernie_image {

/// How soon a client that left is noticed.
inline constexpr std::chrono::milliseconds kWaitSlice{500};

struct JobNews {
  std::optional<Job> job;        ///< if anything changed
  std::optional<Bytes> preview;  ///< JPEG, if there is a new one
  bool is_over = false;          ///< the job is final, or was deleted
};

class JobFollower {
 public:
  JobFollower(JobQueue& queue, std::string id) : queue_(queue), id_(std::move(id)) {}

  /// Waits a moment for a change.
  JobNews next();

 private:
  JobQueue& queue_;
  std::string id_;
  std::int64_t version_ = -1;
  int preview_index_ = -1;
};

}  // namespace ernie_image
