// What is new about a job since last asked, for those who stream it.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "jobs/job_queue.h"
#include "server/service.h"

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

/// A job that nobody but the client of this stream knows of: when the client leaves, it is
/// cancelled.
class StreamedJob {
 public:
  StreamedJob(Service& service, const std::string& id)
      : service_(service), id_(id), follower_(service.queue(), id) {}
  StreamedJob(const StreamedJob&) = delete;
  StreamedJob& operator=(const StreamedJob&) = delete;
  ~StreamedJob();

  JobNews next();

 private:
  Service& service_;
  std::string id_;
  JobFollower follower_;
  bool is_over_ = false;
};

}  // namespace ernie_image
