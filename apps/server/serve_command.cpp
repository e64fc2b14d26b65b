#include "server/serve_command.h"

#include <csignal>
#include <thread>

#include <pthread.h>

#include "cli/exit_code.h"
#include "jobs/worker.h"
#include "server/application.h"
#include "server/log.h"
#include "server/measured_queue.h"
#include "server/serve_flags.h"

namespace ernie_image {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kLastResponses{2};

LogLevel log_level_of(const std::string& name) {
  if (name == "debug") return LogLevel::debug;
  if (name == "warning") return LogLevel::warning;
  return name == "error" ? LogLevel::error : LogLevel::info;
}

/// SIGINT and SIGTERM, waited for rather than interrupting whatever thread they find.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);  // inherited by all threads made from here on
  }

  void wait() const {
    int number = 0;
    sigwait(&signals_, &number);
    // A second one ends the process at once.
    pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);
  }

 private:
  sigset_t signals_;
};

/// The HTTP server on a thread of its own.
class ServerThread {
 public:
  explicit ServerThread(HttpServer& server)
      : server_(server), thread_([this] { server_.serve(); }) {}
  ServerThread(const ServerThread&) = delete;
  ServerThread& operator=(const ServerThread&) = delete;
  ~ServerThread() {
    server_.stop_serving();
    thread_.join();
  }

 private:
  HttpServer& server_;
  std::thread thread_;
};

std::unique_ptr<Worker> start_worker(JobQueue& queue, const ServeFlags& flags) {
  Pipeline pipeline = Pipeline::load(flags.load);
  const ModelInfo& info = pipeline.info();
  log_event(LogLevel::info, "model loaded",
            {{"model", info.name}, {"device", flags.load.device}, {"seconds", info.load_seconds}});
  WorkerOptions options;
  options.runner.load = flags.load;
  options.runner.enhance = flags.enhance;
  return std::make_unique<Worker>(queue, std::move(pipeline), options);
}

/// Requests that are under way may end, no longer than until `deadline`.
void wait_for_requests(const HttpServer& server, Clock::time_point deadline) {
  while (server.active_requests() > 0 && Clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void drain(Service& service, const HttpServer& server, Worker* worker, int seconds) {
  log_event(LogLevel::info, "draining", {{"seconds", seconds}});
  service.drain();
  const auto deadline = Clock::now() + std::chrono::seconds(seconds);
  if (worker != nullptr) worker->drain(std::chrono::seconds(seconds));
  // Without a worker here others finish the jobs that clients wait for; with one, whatever is still
  // queued stays so, and only the last results are to be delivered.
  wait_for_requests(
      server, worker == nullptr ? deadline : std::min(deadline, Clock::now() + kLastResponses));
  service.stop();
}

int run_serve(ServeFlags& flags) {
  check_serve_flags(flags);
  set_log_level(log_level_of(flags.log_level));
  ApiKeys keys;
  if (!flags.api_key_file.empty()) keys = ApiKeys::read(flags.api_key_file);
  const StopSignals signals;
  const std::unique_ptr<JobQueue> store = open_queue(flags.queue);
  Metrics metrics;
  MeasuredQueue queue(*store, metrics);
  Service service(queue, std::move(keys), metrics, flags.service);
  Application application(service);
  HttpServer server(application, flags.http);
  const int port = server.bind(flags.host, flags.port);
  const ServerThread thread(server);
  log_event(LogLevel::info, "listening",
            {{"host", flags.host}, {"port", port}, {"role", flags.role}, {"version", version()}});
  std::unique_ptr<Worker> worker;
  if (flags.role == "all") worker = start_worker(queue, flags);
  signals.wait();
  drain(service, server, worker.get(), flags.drain_seconds);
  log_event(LogLevel::info, "stopped");
  return kExitSuccess;
}

}  // namespace

Command add_serve_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("serve", "Make pictures for others, over HTTP");
  const auto flags = std::make_shared<ServeFlags>();
  add_serve_flags(*app, *flags);
  return {app, [flags] { return run_serve(*flags); }};
}

}  // namespace ernie_image
