#include "jobs/worker.h"

#include <unistd.h>

#include <utility>

#include "core/start_thread.h"

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

void Worker::run() {
  while (!draining_) {
    try {
      run_once();
    } catch (const std::exception&) {
      // The queue cannot be reached. Jobs that were being done are claimed again by somebody.
      std::this_thread::sleep_for(kRetryPause);
    }
  }
  const std::lock_guard lock(mutex_);
  has_ended_ = true;
  ended_.notify_all();
}

void Worker::run_once() {
  // More than the device does at a gain would keep them from other workers.
  const int max_jobs =
      images_at_once(info_.defaults.width_px, info_.defaults.height_px, options_.runner);
  const std::vector<Job> jobs = queue_.claim(info_, max_jobs, kClaimWait);
  if (!jobs.empty()) runner_.run(jobs);
}

}  // namespace ernie_image
