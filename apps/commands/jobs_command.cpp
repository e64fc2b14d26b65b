// What can be done with stored jobs from outside of the server.
#include <iostream>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "commands/commands.h"
#include "common/exit_code.h"
#include "jobs/sqlite_store.h"

namespace ernie_image {
namespace {

constexpr const char* kJobsExamples =
    "Examples:\n"
    "  ernie-image jobs backup --jobs-db /var/lib/ernie-image/jobs.db backup.db\n"
    "Pictures that lie in a folder (--output-dir) are not in it: copy that folder afterwards.";

struct JobsFlags {
  std::string jobs_db;
  std::string target;
};

int run_backup(const JobsFlags& flags) {
  back_up_jobs(flags.jobs_db, flags.target);
  std::cout << "Wrote " << flags.target << "\n";
  return kExitSuccess;
}

}  // namespace

Command add_jobs_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("jobs", "Look after the jobs of a server");
  const auto flags = std::make_shared<JobsFlags>();
  CLI::App* backup =
      app->add_subcommand("backup", "Copy the jobs database, also while a server uses it");
  backup->add_option("file", flags->target, "where the copy goes; replaced once that is whole")
      ->required()
      ->type_name("FILE");
  backup->add_option("--jobs-db", flags->jobs_db, "what `serve --jobs-db` was given")
      ->required()
      ->type_name("FILE");
  app->require_subcommand(1);
  app->footer(kJobsExamples);
  return {app, [flags] { return run_backup(*flags); }};
}

}  // namespace ernie_image
