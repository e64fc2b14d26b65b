#include "commands/commands.h"

#include <atomic>
#include <csignal>
#include <iostream>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include <pthread.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "backend/registry.h"
#include "commands/serve_flags.h"
#include "common/exit_code.h"
#include "core/start_thread.h"
#include "io/model_folder.h"
#include "jobs/dated_folder.h"
#include "jobs/worker.h"
#include "server/application.h"
#include "server/log.h"
#include "server/measured_queue.h"

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

/// The HTTP server on a thread of its own. If it ends unasked, the process stops as by SIGTERM.
class ServerThread {
 public:
  explicit ServerThread(HttpServer& server)
      : server_(server), thread_(start_thread([this] { run(); })) {}
  ServerThread(const ServerThread&) = delete;
  ServerThread& operator=(const ServerThread&) = delete;
  ~ServerThread() {
    server_.stop_serving();
    thread_.join();
  }

  bool has_failed() const { return has_failed_; }

 private:
  void run() {
    try {
      return server_.serve();
    } catch (const std::exception& error) {
      has_failed_ = true;
      log_event(LogLevel::error, "the server ends", {{"reason", error.what()}});
    }
    ::kill(::getpid(), SIGTERM);
  }

  HttpServer& server_;
  std::atomic<bool> has_failed_ = false;
  std::thread thread_;
};

using Workers = std::vector<std::unique_ptr<Worker>>;

/// Null where none is wanted. What cannot be written is found out before the model is loaded: an
/// error if somebody asked for it.
std::shared_ptr<DatedFolder> open_save_directory(ServeFlags& flags) {
  if (flags.save_directory.empty()) return nullptr;
  try {
    return std::make_shared<DatedFolder>(flags.save_directory);
  } catch (const Error& error) {
    if (flags.saves_by_default) {
      log_event(LogLevel::warning, "pictures are not saved; --save-dir names a folder for them",
                {{"reason", error.what()}});
      flags.service.saves_to = "";
      return nullptr;
    }
    throw Error(error.kind(), std::string(error.what()) +
                                  "; name another folder for pictures with --save-dir, or give "
                                  "--no-save");
  }
}

std::unique_ptr<Worker> start_worker(JobQueue& queue, const ServeFlags& flags,
                                     const std::shared_ptr<DatedFolder>& pictures,
                                     const std::string& device) {
  WorkerOptions options;
  options.runner.load = flags.load;
  options.runner.load.device = device;
  options.runner.enhance = flags.enhance;
  options.runner.lora_directory = flags.service.limits.lora_directory;
  options.runner.max_batch = flags.max_batch;
  options.runner.pictures = pictures;
  Pipeline pipeline = Pipeline::load(options.runner.load);
  const ModelInfo& info = pipeline.info();
  log_event(LogLevel::info, "model loaded",
            {{"model", info.name}, {"device", device}, {"seconds", info.load_seconds}});
  return std::make_unique<Worker>(queue, std::move(pipeline), options);
}

/// One for each device, with the model of its own.
Workers start_workers(JobQueue& queue, const ServeFlags& flags,
                      const std::shared_ptr<DatedFolder>& pictures) {
  Workers workers;
  for (const std::string& device : split_device_list(flags.load.device)) {
    workers.push_back(start_worker(queue, flags, pictures, device));
  }
  return workers;
}

void drain_together(const Workers& workers, std::chrono::seconds deadline) {
  std::vector<std::jthread> threads;
  threads.reserve(workers.size());
  for (const auto& worker : workers) {
    try {
      threads.emplace_back([&worker, deadline] { worker->drain(deadline); });
    } catch (const std::system_error&) {
      worker->drain(deadline);  // no thread can be made: one after another
    }
  }
}

/// Requests that are under way may end, no longer than until `deadline`.
void wait_for_requests(const HttpServer& server, Clock::time_point deadline) {
  while (server.active_requests() > 0 && Clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void drain(Service& service, const HttpServer& server, const Workers& workers, int seconds) {
  log_event(LogLevel::info, "draining", {{"seconds", seconds}});
  service.drain();
  const auto deadline = Clock::now() + std::chrono::seconds(seconds);
  drain_together(workers, std::chrono::seconds(seconds));
  // Without a worker here others finish the jobs that clients wait for; with one, whatever is still
  // queued stays so, and only the last results are to be delivered.
  wait_for_requests(server,
                    workers.empty() ? deadline : std::min(deadline, Clock::now() + kLastResponses));
  service.stop();
}

/// Where a browser on this machine finds the page.
std::string page_url(const std::string& host, int port) {
  const bool is_any = host == "0.0.0.0" || host == "::";
  const std::string name = is_any                                ? "localhost"
                           : host.find(':') != std::string::npos ? "[" + host + "]"
                                                                 : host;
  return "http://" + name + ":" + std::to_string(port);
}

int run_serve(ServeFlags& flags) {
  check_serve_flags(flags);
  set_log_level(log_level_of(flags.log_level));
  const bool is_terminal = isatty(STDERR_FILENO) == 1;
  if (is_terminal) set_log_for_people();
  set_log_sink([](LogLevel level, const std::string& message) { log_event(level, message); });
  ApiKeys keys;
  if (!flags.api_key_file.empty())
    keys = naming_flag("--api-key-file", [&] { return ApiKeys::read(flags.api_key_file); });
  // Loading takes its time, in which clients are told to wait; what cannot be loaded is said first.
  if (flags.role == "all") resolve_model(flags.load.model, flags.load.parts);
  const std::shared_ptr<DatedFolder> pictures = open_save_directory(flags);
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
  if (pictures != nullptr)
    log_event(LogLevel::info, "pictures are saved", {{"folder", flags.save_directory}});
  if (is_terminal) {
    std::cerr << "Open " << page_url(flags.host, port) << " in a browser; Ctrl-C ends it.\n";
    if (pictures != nullptr)
      std::cerr << "Pictures are saved in " << without_home(flags.save_directory) << ".\n";
  }
  Workers workers;
  if (flags.role == "all") workers = start_workers(queue, flags, pictures);
  signals.wait();
  drain(service, server, workers, flags.drain_seconds);
  log_event(LogLevel::info, "stopped");
  return thread.has_failed() ? kExitFailure : kExitSuccess;  // a supervisor starts it again
}

}  // namespace

Command add_serve_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("serve", "Make pictures for others, over HTTP");
  const auto flags = std::make_shared<ServeFlags>();
  add_serve_flags(*app, *flags);
  return {app, [flags] { return run_serve(*flags); }};
}

}  // namespace ernie_image
