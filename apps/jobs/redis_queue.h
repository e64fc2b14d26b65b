// The queue of a fleet: any number of gateways and workers that reach one Redis.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "jobs/image_folder.h"
#include "jobs/job_queue.h"
#include "jobs/queue_options.h"
#include "jobs/redis_client.h"
#include "jobs/redis_news.h"

namespace ernie_image {

/// Needs Redis 6.2 (XAUTOCLAIM). An accepted job survives Redis itself if that has `appendonly yes`
/// and `appendfsync always`. While Redis cannot be reached every call tries again for some seconds,
/// then throws. One Redis, not a cluster of them.
class RedisQueue final : public JobQueue {
 public:
  explicit RedisQueue(const QueueOptions& options);
  ~RedisQueue() override;

  Job submit(const JobRequest& request, const std::string& owner,
             const std::string& idempotency_key, const JobInputs& inputs) override;
  std::optional<Job> find(const std::string& id) override;
  std::optional<Job> find_by_key(const std::string& owner,
                                 const std::string& idempotency_key) override;
  std::vector<Job> list(const JobFilter& filter) override;
  std::optional<Job> wait(const std::string& id, std::int64_t version,
                          std::chrono::milliseconds timeout) override;
  bool cancel(const std::string& id) override;
  bool remove(const std::string& id) override;
  bool remove_image(const std::string& id, int index) override;
  std::optional<Bytes> image(const std::string& id, int index) override;
  std::optional<Bytes> preview(const std::string& id) override;
  std::optional<Bytes> trace(const std::string& id) override;
  QueueCounts counts() override;
  std::vector<WorkerInfo> workers() override;

  void announce(const WorkerInfo& worker) override;
  std::vector<Job> claim(const WorkerInfo& worker, const BatchLimit& limit,
                         std::chrono::milliseconds timeout) override;
  JobInputs inputs(const std::string& id) override;
  bool report(const std::string& id, const std::string& worker, const JobProgress& progress,
              const Bytes& preview) override;
  void complete(const std::string& id, const std::string& worker, const JobResult& result) override;
  void fail(const std::string& id, const std::string& worker, const JobFailure& failure) override;
  void release(const std::string& id, const std::string& worker) override;

 private:
  RedisReply command(const std::vector<std::string_view>& words) { return client_.command(words); }
  /// ARGV is the prefix, `subject`, then `arguments`.
  RedisReply run(std::string_view script, std::string_view subject,
                 const std::vector<std::string>& arguments);
  RedisReply finish(const std::string& id, const std::string& worker, JobState state,
                    const std::string& outcome, const JobFailure& failure);

  std::string key(const std::string& rest) const { return prefix_ + ":" + rest; }
  std::string file_key(const std::string& name) const { return key("file:" + name); }
  std::chrono::steady_clock::time_point reclaim_if_due(const std::string& model_hash);
  void fail_orphans_if_due();
  std::vector<Job> take(const WorkerInfo& worker, const BatchLimit& limit);
  /// Without a folder it is kept for so long.
  void write_file(const std::string& name, std::string_view bytes, std::chrono::seconds kept);
  std::optional<Bytes> read_file(const std::string& name);
  void remove_file(const std::string& name);
  void remove_files(const std::string& id, const std::vector<JobImage>& images);
  void remove_surplus(const RedisReply& ended);
  void write_inputs(const std::string& id, const JobInputs& inputs);
  void remove_inputs(const std::string& id);
  void remove_inputs_of(const RedisReply& ids);
  std::optional<Job> read_job(const std::string& id, const RedisReply& fields);
  std::optional<WorkerInfo> read_worker(const std::string& name, const std::string& text);

  const QueueOptions options_;
  const std::string prefix_;  // of all keys, before client_ and its channels
  RedisClient client_;
  RedisNews job_news_;   // ids of jobs that have changed
  RedisNews work_news_;  // hashes of models that there is work for
  std::optional<ImageFolder> folder_;
  std::mutex hashes_mutex_;
  std::map<std::string_view, std::string> hashes_;  // of scripts, as Redis knows them
  std::mutex told_mutex_;
  std::set<std::string> told_;  // what was warned of already
  std::mutex reclaim_mutex_;
  std::map<std::string, std::chrono::steady_clock::time_point> next_reclaim_;  // by hash of a model
  std::chrono::steady_clock::time_point next_orphans_;
};

}  // namespace ernie_image
