// Jobs, workers and queues for tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "io/test_files.h"
#include "jobs/job_queue.h"
#include "jobs/queue_options.h"
#include "request/request.h"

namespace ernie_image::test {

inline constexpr std::chrono::milliseconds kNoTime{0};
/// Far more than anything here takes.
inline constexpr std::chrono::milliseconds kPatience{120000};
/// Steps that last some seconds, so that what happens meanwhile can be seen: one of the embedded
/// model takes 3 ms of CPU, sanitized 45.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr int kSecondsOfSteps = 60;
#else
inline constexpr int kSecondsOfSteps = 800;
#endif

JobRequest small_request(const std::string& prompt = "a red apple");

WorkerInfo worker_named(const std::string& name);

FinishedImage picture(std::uint64_t seed, const std::string& content_type,
                      const std::string& bytes);

/// One picture with these bytes.
JobResult result_of(const std::string& bytes);

/// What a queue test needs of a kind of queue.
class QueueHarness {
 public:
  virtual ~QueueHarness() = default;
  /// Why the tests are skipped; empty if they can run.
  virtual std::string problem() const { return {}; }
  /// Where a queue of its own is, with the rest as `options` says.
  virtual QueueOptions located(QueueOptions options) const = 0;
};

std::unique_ptr<QueueHarness> make_sqlite_harness(const std::string& folder);
/// With a server of its own.
std::unique_ptr<QueueHarness> make_redis_harness(const std::string& folder);

}  // namespace ernie_image::test
