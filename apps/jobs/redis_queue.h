// The queue of a fleet: any number of gateways and workers that reach one Redis.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jobs/job_queue.h"
#include "jobs/picture_folder.h"
#include "jobs/queue_options.h"
#include "jobs/redis_connection.h"

namespace ernie_image {

/// Needs Redis 6.2 (XAUTOCLAIM). An accepted job survives Redis itself if that has `appendonly yes`
/// and `appendfsync always`. While Redis cannot be reached every call tries again for some seconds,
/// then throws. One Redis, not a cluster of them.
class RedisQueue final : public JobQueue {
 public:
  explicit RedisQueue(const QueueOptions& options);
  ~RedisQueue() override;

  Job submit(const JobRequest& request, const std::string& owner,
             const std::string& idempotency_key) override;
  std::optional<Job> find(const std::string& id) override;
  std::vector<Job> list(const JobFilter& filter) override;
  std::optional<Job> wait(const std::string& id, std::int64_t version,
                          std::chrono::milliseconds timeout) override;
  bool cancel(const std::string& id) override;
  bool remove(const std::string& id) override;
  std::optional<Bytes> image(const std::string& id, int index) override;
  std::optional<Bytes> preview(const std::string& id) override;
  std::optional<Bytes> trace(const std::string& id) override;
  QueueCounts counts() override;
  std::vector<WorkerInfo> workers() override;

  void announce(const WorkerInfo& worker) override;
  std::vector<Job> claim(const WorkerInfo& worker, int max_jobs,
                         std::chrono::milliseconds timeout) override;
  bool report(const std::string& id, const std::string& worker, const JobProgress& progress,
              const Bytes& preview) override;
  void complete(const std::string& id, const std::string& worker, const JobResult& result) override;
  void fail(const std::string& id, const std::string& worker, const JobFailure& failure) override;
  void release(const std::string& id, const std::string& worker) override;

 private:
  RedisReply command(const std::vector<std::string_view>& words);
  /// ARGV is the prefix, `subject`, the time, then `arguments`.
  RedisReply run(std::string_view script, std::string_view subject,
                 const std::vector<std::string>& arguments);
  RedisReply finish(const std::string& id, const std::string& worker, JobState state,
                    const std::string& outcome, const JobFailure& failure);

  std::string key(const std::string& rest) const { return options_.key_prefix + ":" + rest; }
  std::string file_key(const std::string& name) const { return key("file:" + name); }
  std::vector<Job> take(const WorkerInfo& worker, int max_jobs);
  void write_file(const std::string& name, const Bytes& bytes);
  std::optional<Bytes> read_file(const std::string& name);
  void remove_files(const std::string& id, const std::vector<JobImage>& images);
  void remove_surplus(const RedisReply& ended);

  std::unique_ptr<RedisConnection> take_connection();
  void give_connection(std::unique_ptr<RedisConnection> connection);

  const QueueOptions options_;
  const RedisAddress address_;
  std::optional<PictureFolder> folder_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<RedisConnection>> idle_;
};

}  // namespace ernie_image
