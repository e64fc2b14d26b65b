#include "jobs/worker.h"

#include <unistd.h>

#include <utility>

#include "core/log.h"
#include "core/start_thread.h"
#include "jobs/job_json.h"

namespace ernie_image {
namespace {

constexpr std::chrono::milliseconds kClaimWait{250};   // how long a drain may go unnoticed
constexpr std::chrono::milliseconds kRetryPause{500};  // after the queue could not be reached

std::string unique_name() {
  static std::atomic<int> counter = 0;
  char host[256] = "host";
  ::gethostname(host, sizeof(host) - 1);
  return std::string(host) + "-" + std::to_string(::getpid()) + "-" + std::to_string(++counter);
}

WorkerInfo describe(const ModelInfo& model, const WorkerOptions& options) {
  WorkerInfo info;
  info.name = options.name.empty() ? unique_name() : options.name;
  info.model = options.model.empty() ? model.name : options.model;
  info.device = options.runner.load.device;
  info.has_enhancer = model.has_prompt_enhancer || options.runner.enhance.endpoint.has_value();
  info.defaults = model.defaults;
  info.size_multiple_px = model.size_multiple_px;
  check_worker(info);
  return info;
}

}  // namespace

Worker::Worker(JobQueue& queue, Pipeline pipeline, const WorkerOptions& options)
    : queue_(queue),
      pipeline_(std::move(pipeline)),
      options_(options),
      info_(describe(pipeline_.info(), options_)),
      reporter_(queue_, info_),
      runner_(pipeline_, queue_, reporter_, options_.runner, info_.name),
      thread_(start_thread([this] { run(); })) {}

Worker::~Worker() {
  drain(std::chrono::milliseconds(0));
  thread_.join();
}

void Worker::drain(std::chrono::milliseconds deadline) {
  draining_ = true;
  std::unique_lock lock(mutex_);
  if (ended_.wait_for(lock, deadline, [this] { return has_ended_; })) return;
  runner_.give_back();
  ended_.wait(lock, [this] { return has_ended_; });
}

void Worker::throw_if_refused() {
  const std::lock_guard lock(mutex_);
  if (refusal_ != nullptr) std::rethrow_exception(refusal_);
}

void Worker::run() {
  std::exception_ptr refusal;
  try {
    claim_until_drained();
  } catch (const StoreRefused& error) {
    refusal = std::current_exception();
    log_message(LogLevel::error, "worker " + info_.name + " ends: " + error.what());
  }
  const std::lock_guard lock(mutex_);
  refusal_ = refusal;
  has_ended_ = true;
  ended_.notify_all();
}

void Worker::claim_until_drained() {
  std::string told;  // a trouble is told of once
  while (!draining_) {
    try {
      run_once();
      if (!told.empty()) log_message(LogLevel::warning, "worker " + info_.name + " goes on");
      told.clear();
    } catch (const StoreRefused&) {
      throw;
    } catch (const std::exception& error) {
      // Jobs that were being done are claimed again by somebody.
      if (told != error.what()) {
        told = error.what();
        log_message(LogLevel::warning,
                    "worker " + info_.name + " has no queue and tries again: " + told);
      }
      std::this_thread::sleep_for(kRetryPause);
    }
  }
}

void Worker::run_once() {
  // More than the device does at a gain would keep them from other workers.
  const std::vector<Job> jobs =
      queue_.claim(reporter_.worker(), batch_limit(options_.runner), kClaimWait);
  if (!jobs.empty()) runner_.run(jobs);
}

}  // namespace ernie_image
