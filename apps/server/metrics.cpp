#include "server/metrics.h"

#include <fstream>

#include <unistd.h>

#include <sstream>
#include <string_view>

#include <prometheus/text_serializer.h>

namespace ernie_image {
namespace {

using prometheus::Family;

// From a cached page to a large picture on a slow machine.
const prometheus::Histogram::BucketBoundaries kSeconds = {0.005, 0.02, 0.1, 0.5, 1,   2,
                                                          5,     10,   30,  60,  180, 600};

Family<prometheus::Counter>& counter(prometheus::Registry& registry, const char* name,
                                     const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

Family<prometheus::Histogram>& histogram(prometheus::Registry& registry, const char* name,
                                         const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

prometheus::Gauge& gauge(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

/// Counters are declared without the "_total" of their samples there, and the end is said.
std::string open_metrics(const std::string& text) {
  constexpr std::string_view kTotal = "_total ";
  std::istringstream lines(text);
  std::string result;
  for (std::string line; std::getline(lines, line); result += line + "\n") {
    const std::size_t name_end = line.find(' ', line.find(' ', 2) + 1) + 1;
    const bool is_comment = line.starts_with("# HELP ") || line.starts_with("# TYPE ");
    if (is_comment && line.substr(0, name_end).ends_with(kTotal))
      line.erase(name_end - kTotal.size(), kTotal.size() - 1);
  }
  return result + "# EOF\n";
}

}  // namespace

Metrics::Metrics()
    : requests_(
          counter(registry_, "ernie_image_http_requests_total", "Requests by route and status")),
      request_seconds_(histogram(registry_, "ernie_image_http_request_seconds",
                                 "From a request's first byte to the response's last")),
      jobs_(counter(registry_, "ernie_image_jobs_total", "Jobs that ended here, by outcome")),
      job_seconds_(histogram(registry_, "ernie_image_job_seconds",
                             "From a completed job's begin to its end, without waiting")),
      stage_seconds_(histogram(registry_, "ernie_image_stage_seconds",
                               "Of one job's stage on this process's workers")),
      steps_(counter(registry_, "ernie_image_steps_total",
                     "Denoising steps done by this process's workers")
                 .Add({})),
      step_seconds_(
          counter(registry_, "ernie_image_step_seconds_total", "Seconds that these steps took")
              .Add({})),
      queued_(gauge(registry_, "ernie_image_queued_jobs", "Jobs that wait")),
      running_(gauge(registry_, "ernie_image_running_jobs", "Jobs that workers have")),
      workers_(gauge(registry_, "ernie_image_workers", "Workers heard of in the last half minute")),
      steps_per_second_(gauge(registry_, "ernie_image_steps_per_second",
                              "Denoising steps a second of all workers together, as of each one's "
                              "last job")),
      memory_bytes_(gauge(registry_, "ernie_image_resident_memory_bytes",
                          "Memory that this process holds")) {}

void Metrics::count_request(const std::string& route, int status, double seconds) {
  requests_.Add({{"route", route}, {"status", std::to_string(status)}}).Increment();
  request_seconds_.Add({{"route", route}}, kSeconds).Observe(seconds);
}

void Metrics::count_job(JobKind kind, JobState outcome, double seconds) {
  jobs_.Add({{"kind", name_of(kind)}, {"outcome", name_of(outcome)}}).Increment();
  if (outcome == JobState::completed) {
    job_seconds_.Add({{"kind", name_of(kind)}}, kSeconds).Observe(seconds);
  }
}

void Metrics::observe_stage(const std::string& stage, double seconds) {
  stage_seconds_.Add({{"stage", stage}}, kSeconds).Observe(seconds);
}

void Metrics::observe_steps(int steps, double seconds) {
  steps_.Increment(steps);
  step_seconds_.Increment(seconds);
}

void Metrics::read_queue(JobQueue& queue) {
  const QueueCounts counts = queue.counts();
  queued_.Set(counts.queued);
  running_.Set(counts.running);
  const std::vector<WorkerInfo> workers = queue.workers();
  workers_.Set(static_cast<double>(workers.size()));
  double steps_per_second = 0;
  for (const WorkerInfo& worker : workers) {
    if (worker.seconds_per_step > 0) steps_per_second += 1 / worker.seconds_per_step;
  }
  steps_per_second_.Set(steps_per_second);
}

void Metrics::read_process() {
  std::ifstream file("/proc/self/statm");
  double total_pages = 0, resident_pages = 0;
  if (file >> total_pages >> resident_pages) {
    memory_bytes_.Set(resident_pages * static_cast<double>(::sysconf(_SC_PAGESIZE)));
  }
}

std::string Metrics::text(JobQueue& queue, bool as_open_metrics) {
  read_queue(queue);
  read_process();
  const std::string text = prometheus::TextSerializer().Serialize(registry_.Collect());
  return as_open_metrics ? open_metrics(text) : text;
}

}  // namespace ernie_image
