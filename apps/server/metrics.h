// What Prometheus is told. Labels are names of routes, stages and outcomes, never text of a
// request.
#pragma once

#include <memory>
#include <string>

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include "jobs/job_queue.h"

namespace ernie_image {

class Metrics {
 public:
  Metrics();

  void count_request(const std::string& route, int status, double seconds);
  void count_job(JobKind kind, JobState outcome, double seconds);
  void observe_stage(const std::string& stage, double seconds);
  void observe_steps(int steps, double seconds);

  /// Prometheus' text format, or OpenMetrics; reads the queue's and the process's state now.
  std::string text(JobQueue& queue, bool as_open_metrics = false);

 private:
  void read_queue(JobQueue& queue);
  void read_process();

  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Histogram>& request_seconds_;
  prometheus::Family<prometheus::Counter>& jobs_;
  prometheus::Family<prometheus::Histogram>& job_seconds_;
  prometheus::Family<prometheus::Histogram>& stage_seconds_;
  prometheus::Counter& steps_;
  prometheus::Counter& step_seconds_;
  prometheus::Gauge& queued_;
  prometheus::Gauge& running_;
  prometheus::Gauge& workers_;
  prometheus::Gauge& steps_per_second_;
  prometheus::Gauge& memory_bytes_;
};

}  // namespace ernie_image
