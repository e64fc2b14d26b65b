// What the routes share: the queue, who may ask for what, and how jobs are handed in.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "jobs/job_queue.h"
#include "server/api_keys.h"
#include "server/exchange.h"
#include "server/image_request.h"
#include "server/metrics.h"
#include "server/quotas.h"

namespace ernie_image {

struct ServiceOptions {
  RequestLimits limits;
  /// Names under which the server may be asked for; empty: any. Ports do not count.
  std::vector<std::string> allowed_hosts;
  /// What links in responses begin with, "https://pictures.example.org"; empty: as the client asked
  std::string public_url;
  /// That bodies, what is made of them, and responses may take together.
  std::size_t request_memory_bytes = 512 << 20;
  /// Whether jobs and pictures are there after a restart: what the page may promise.
  bool keeps_jobs = false;
  /// The folder that finished pictures are saved in besides, with ~ for the home of whoever runs
  /// this; empty: none
  std::string saves_to;
};

class Service {
 public:
  /// `queue` and `metrics` must outlive it.
  Service(JobQueue& queue, ApiKeys keys, Metrics& metrics, ServiceOptions options)
      : queue_(queue),
        keys_(std::move(keys)),
        metrics_(metrics),
        options_(std::move(options)),
        memory_(options_.request_memory_bytes) {}

  JobQueue& queue() { return queue_; }
  const ApiKeys& keys() const { return keys_; }
  Metrics& metrics() { return metrics_; }
  const ServiceOptions& options() const { return options_; }
  MemoryBudget& memory() { return memory_; }

  /// Those that live, asked of the store once a second at most, by one thread at a time: whoever
  /// comes meanwhile gets its answer, or throws Error(device) if it gets none.
  std::vector<WorkerInfo> workers();

  /// Checks quotas, then submits; what is refused, or was submitted with this idempotency key
  /// before, uses up nothing. Throws ApiError: 429, 503 while draining, 409 for an idempotency key
  /// that came with another request.
  Job submit(const Exchange& exchange, JobRequest request);

  /// The job of that id if it is the asker's own. Throws ApiError(404), DamagedJob.
  Job own_job(const Exchange& exchange, const std::string& id);

  /// Waits until the job is final. A client that goes away meanwhile has it cancelled, and
  /// ApiError(499) is thrown for the log.
  Job wait_until_final(const Exchange& exchange, Job job);

  /// New jobs are refused from now on, and /readyz fails.
  void drain() { is_draining_ = true; }
  bool is_draining() const { return is_draining_; }

  /// Whoever waits is told to come back later.
  void stop() { is_stopping_ = true; }
  bool is_stopping() const { return is_stopping_; }

  /// "http://host" of links to this server, as the client knows it.
  std::string base_url(const Exchange& exchange) const;

 private:
  JobQueue& queue_;
  const ApiKeys keys_;
  Metrics& metrics_;
  const ServiceOptions options_;
  MemoryBudget memory_;
  Quotas quotas_;
  std::atomic<bool> is_draining_ = false;
  std::atomic<bool> is_stopping_ = false;

  struct Asking;  ///< one question to the store
  /// Unlocks meanwhile.
  std::vector<WorkerInfo> ask_for_workers(std::unique_lock<std::mutex>& lock);

  std::mutex workers_mutex_;
  std::condition_variable answered_;
  std::shared_ptr<Asking> asking_;
  std::vector<WorkerInfo> workers_;
  std::chrono::steady_clock::time_point workers_time_;
};

/// The JSON object that the request sends. Throws ApiError(400).
JsonReader fields_of(const Exchange& exchange);

/// Takes what it needs to send all pictures of a job as text in JSON. Throws ApiError(503).
void take_memory_for_images(const Exchange& exchange, const Job& job);

/// One of a completed job's pictures. Throws ApiError(500) if it is gone.
Bytes image_bytes(Service& service, const Job& job, int index);

/// The number in a path. Throws ApiError for one of no picture of the job.
int image_index(const Job& job, const std::string& text);

/// Sends a finished picture, whoever asks. Throws ApiError(404).
void send_image(Service& service, const Exchange& exchange, const std::string& id,
                const std::string& index, httplib::Response& response);

/// Sends `body` as application/json.
void send_json(httplib::Response& response, const nlohmann::json& body, int status = 200);

}  // namespace ernie_image
