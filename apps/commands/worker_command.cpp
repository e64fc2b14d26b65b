#include "commands/commands.h"

#include <iostream>
#include <memory>
#include <thread>

#include <CLI/CLI.hpp>

#include "commands/queue_flags.h"
#include "common/enhance_flags.h"
#include "common/exit_code.h"
#include "common/interrupt.h"
#include "common/lora.h"
#include "jobs/job_json.h"
#include "jobs/queue_options.h"
#include "jobs/worker.h"

namespace ernie_image {
namespace {

constexpr int kMaxDrainSeconds = 86400;
constexpr std::chrono::milliseconds kPoll{50};  // how long a signal may go unnoticed

constexpr const char* kWorkerExamples =
    "Examples:\n"
    "  ernie-image worker --queue redis://localhost:6379 -m baidu/ERNIE-Image-Turbo\n"
    "  ernie-image worker --queue redis://:password@queue.example.org:6379/0 --device cuda:1 "
    "--name "
    "card-1\n"
    "  ernie-image worker --queue unix:///run/redis/redis.sock --output-dir /srv/pictures\n"
    "with  ernie-image serve --role gateway --queue redis://localhost:6379  as what hands the jobs "
    "in.\n"
    "Exit codes: 0 stopped by Ctrl-C or SIGTERM, 1 failed, 2 wrong usage.";

struct WorkerFlags {
  QueueOptions queue;
  std::string queue_password_file;
  WorkerOptions worker;
  int drain_seconds = 30;
};

/// Before a model is loaded for a name that nobody could read.
void check_names(const WorkerOptions& worker) {
  if (!worker.name.empty()) check_worker_name(worker.name, "--name");
  if (!worker.model.empty()) check_worker_name(worker.model, "--model-name");
}

int run_worker(WorkerFlags& flags) {
  check_names(flags.worker);
  complete_queue_options(flags.queue, flags.queue_password_file);
  complete_enhance_flags(flags.worker.runner.enhance);
  const std::string& loras = flags.worker.runner.lora_directory;
  if (!loras.empty()) list_loras(loras);  // throws if it is not there
  const InterruptGuard interrupt;
  const std::unique_ptr<JobQueue> queue = open_queue(flags.queue);
  Pipeline pipeline = Pipeline::load(flags.worker.runner.load);
  note_model(flags.worker.runner.load, pipeline.info());
  Worker worker(*queue, std::move(pipeline), flags.worker);
  std::cerr << "Worker " << worker.info().name << " makes pictures with " << worker.info().model
            << " on " << worker.info().device << "\n";
  while (!interrupt.token()->requested()) {
    worker.throw_if_refused();
    std::this_thread::sleep_for(kPoll);
  }
  std::cerr << "Worker " << worker.info().name << " finishes what it has begun\n";
  worker.drain(std::chrono::seconds(flags.drain_seconds));
  return kExitSuccess;
}

}  // namespace

Command add_worker_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("worker", "Make pictures for the queue of a fleet");
  const auto flags = std::make_shared<WorkerFlags>();
  app->add_option(
         "--queue", flags->queue.url,
         "where jobs come from: redis://[[user]:password@]host[:port][/database] or unix:///path")
      ->required()
      ->type_name("URL");
  add_queue_password_flag(*app, flags->queue_password_file);
  app->add_option("--output-dir", flags->queue.output_directory,
                  "directory that all gateways and workers see, for the pictures; default: through "
                  "Redis, which keeps them for a day")
      ->type_name("DIR");
  app->add_option("--model-name", flags->worker.model,
                  "what jobs ask for; default: the model's own name")
      ->type_name("NAME");
  app->add_option("--name", flags->worker.name,
                  "of this worker, unique in the fleet; default: host, process and a number")
      ->type_name("NAME");
  add_integer_flag(*app, "--max-batch", flags->worker.runner.max_batch, 1, kMaxBatch,
                   "pictures made at once; default: what is fast for their size");
  add_integer_flag(*app, "--drain-seconds", flags->drain_seconds, 0, kMaxDrainSeconds,
                   "time to finish what was begun, after SIGTERM or Ctrl-C, before it is given "
                   "back to the queue; default 30");
  add_enhancer_flags(*app, flags->worker.runner.enhance);
  add_load_flags(*app, flags->worker.runner.load);
  add_lora_dir_flag(*app, flags->worker.runner.lora_directory);
  app->footer(kWorkerExamples);
  return {app, [flags] { return run_worker(*flags); }};
}

}  // namespace ernie_image
