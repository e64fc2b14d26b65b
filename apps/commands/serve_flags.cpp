#include "commands/serve_flags.h"

#include <algorithm>

#include <arpa/inet.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "commands/queue_flags.h"
#include "common/exit_code.h"
#include "common/limits.h"
#include "common/lora.h"
#include "common/parse_values.h"
#include "jobs/dated_folder.h"
#include "jobs/job_runner.h"
#include "server/application.h"
#include "server/origin_check.h"

namespace ernie_image {
namespace {

constexpr const char* kServeExamples =
    "Examples:\n"
    "  ernie-image serve                                   the embedded model at "
    "http://127.0.0.1:7860\n"
    "  ernie-image serve -m baidu/ERNIE-Image-Turbo --jobs-db jobs.db --output-dir pictures\n"
    "  ernie-image serve --host 0.0.0.0 --api-key-file keys.txt --allowed-host "
    "pictures.example.org\n"
    "Exit codes: 0 stopped by Ctrl-C or SIGTERM, 1 failed, 2 wrong usage.";

// Sockets beyond 1023 are none that the HTTP library takes; some are files and the queue's.
constexpr int kMaxConnections = 900;
constexpr double kMaxOrphanSeconds = 1e9;

void add_address_flags(CLI::App& app, ServeFlags& flags) {
  app.add_option("--host", flags.host,
                 "address to listen at; default 127.0.0.1, this machine alone")
      ->type_name("HOST");
  add_integer_flag(app, "--port", flags.port, 0, 65535,
                   "default 7860; 0: any free one, see the log");
  app.add_option("--api-key-file", flags.api_key_file,
                 "who may ask: lines of name:key[:requests_per_minute[:megapixels_per_hour]]")
      ->type_name("FILE");
  app.add_flag("--insecure", flags.insecure,
               "listen at other addresses than loopback without API keys");
  app.add_option("--allowed-host", flags.service.allowed_hosts,
                 "name under which clients may ask for this server, or * for any; repeat it for "
                 "more; default: localhost at loopback; numeric addresses and this machine's name "
                 "with --insecure; with keys any")
      ->allow_extra_args(false)
      ->type_name("NAME");
  app.add_option("--public-url", flags.service.public_url,
                 "what links in responses begin with; default: http:// and the host asked for")
      ->type_name("URL");
}

void add_queue_flags(CLI::App& app, ServeFlags& flags) {
  app.add_option("--jobs-db", flags.queue.jobs_db,
                 "SQLite file in which jobs survive; default: memory, they do not")
      ->type_name("FILE");
  app.add_option("--output-dir", flags.queue.output_directory,
                 "where pictures are kept; default: with the jobs")
      ->type_name("DIR");
  app.add_option("--save-dir", flags.save_directory,
                 "folder for finished pictures, one folder a day, names with seed and prompt; "
                 "default: $XDG_DATA_HOME/ernie-image/pictures, else "
                 "~/.local/share/ernie-image/pictures, unless --jobs-db, --output-dir or --queue "
                 "says where pictures are kept")
      ->type_name("DIR");
  app.add_flag("--no-save", flags.saves_nothing, "save pictures in no such folder");
  app.add_option("--queue", flags.queue.url,
                 "redis://[[user]:password@]host[:port][/db] or unix:///path: share the jobs with "
                 "other gateways and "
                 "workers; default: this process alone")
      ->type_name("URL");
  add_queue_password_flag(app, flags.queue_password_file);
  add_number_flag(
      app, "--orphan-timeout",
      [&flags](double seconds) {
        flags.queue.orphan_timeout =
            std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
      },
      0, kMaxOrphanSeconds,
      "seconds after which waiting jobs fail whose model no worker has; default 86400, 0: never");
  app.add_option("--role", flags.role,
                 "all (default): make pictures too; gateway: leave that to `ernie-image worker`s")
      ->check(CLI::IsMember({"all", "gateway"}).description(""))
      ->type_name("all|gateway");
  add_integer_flag(app, "--max-queue", flags.queue.max_queued, 1, 1 << 20,
                   "waiting jobs, beyond which more are refused; default 256");
  add_integer_flag(app, "--max-batch", flags.max_batch, 1, kMaxBatch,
                   "pictures made at once; default: what is fast for their size");
  add_integer_flag(app, "--drain-seconds", flags.drain_seconds, 0, kMaxTimeoutSeconds,
                   "after SIGTERM, for what is under way; default 30");
}

void add_limit_flags(CLI::App& app, ServeFlags& flags) {
  RequestLimits& limits = flags.service.limits;
  add_integer_flag(app, "--max-images", limits.max_images, 1, kMaxImages,
                   "of a request; default 10");
  add_integer_flag(app, "--max-steps", limits.max_steps, 1, kMaxInferenceSteps, "default 200");
  add_number_flag(
      app, "--max-megapixels",
      [&limits](double value) { limits.max_pixels = static_cast<std::int64_t>(value * 1e6); }, 1e-3,
      300, "of one picture; default 4.2, that is 2048x2048");
  add_number_flag(
      app, "--max-prompt-chars",
      [&limits](double value) { limits.max_prompt_chars = static_cast<std::size_t>(value); }, 1,
      1e6, "default 8000");
  add_number_flag(
      app, "--max-connections",
      [&flags](double value) { flags.http.max_connections = static_cast<std::size_t>(value); }, 1,
      kMaxConnections, "requests at a time; default 512");
  app.add_option("--model-alias", limits.model_aliases,
                 "another name for the model that is served; repeat it for more; default dall-e-2, "
                 "dall-e-3, gpt-image-1 and gpt-image-2, which clients have built in")
      ->allow_extra_args(false)
      ->type_name("NAME");
  app.add_option_function<std::string>(
         "--request-memory",
         [&flags](const std::string& text) {
           flags.service.request_memory_bytes = parse_byte_count("--request-memory", text);
         },
         "that bodies of requests and responses may take together, e.g. 256M; more are told to "
         "come again; default 512M")
      ->type_name("BYTES");
  const auto add_milliseconds = [&app](const char* name, std::chrono::milliseconds& target,
                                       const char* help) {
    add_number_flag(
        app, name,
        [&target](double seconds) {
          target = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
        },
        0.1, kMaxTimeoutSeconds, help);
  };
  add_milliseconds("--client-patience", flags.http.connection.patience,
                   "seconds that a client may let us wait for its request or for taking the "
                   "response; default 10");
  add_milliseconds("--keep-alive", flags.http.connection.idle,
                   "seconds for which an idle connection is kept; default 30");
  app.add_option("--log-level", flags.log_level, "debug, info (default), warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}).description(""))
      ->type_name("LEVEL");
}

/// Unless another place is named, pictures of the page outlive the server in the user's own folder.
void choose_save_directory(ServeFlags& flags) {
  const bool is_kept = !flags.queue.url.empty() || flags.queue.jobs_db != ":memory:" ||
                       !flags.queue.output_directory.empty();
  if (!flags.save_directory.empty() && flags.saves_nothing)
    usage_error("--save-dir and --no-save contradict each other");
  if (!flags.save_directory.empty() && flags.role == "gateway")
    usage_error("--save-dir: a gateway makes no pictures");
  flags.saves_by_default = flags.save_directory.empty() && !flags.saves_nothing && !is_kept;
  if (flags.saves_by_default) flags.save_directory = default_pictures_folder();
  flags.service.saves_to = without_home(flags.save_directory);
}

std::string own_name() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  return host_name(name);
}

}  // namespace

void add_serve_flags(CLI::App& app, ServeFlags& flags) {
  add_load_flags(app, flags.load);
  add_lora_dir_flag(app, flags.service.limits.lora_directory);
  add_enhancer_flags(app, flags.enhance);
  add_address_flags(app, flags);
  add_queue_flags(app, flags);
  add_limit_flags(app, flags);
  app.footer(kServeExamples);
}

bool is_loopback(const std::string& host) {
  in_addr address = {};
  const bool is_ipv4 = ::inet_pton(AF_INET, host.c_str(), &address) == 1;
  return host == "localhost" || host == "::1" || (is_ipv4 && host.starts_with("127."));
}

void check_serve_flags(ServeFlags& flags) {
  if (flags.role == "gateway" && flags.queue.url.empty()) {
    usage_error("--role gateway needs --queue redis://..., where workers find the jobs");
  }
  if (!is_loopback(flags.host) && flags.api_key_file.empty() && !flags.insecure) {
    usage_error("--host " + flags.host +
                ": others could use this server without a key; give --api-key-file FILE, or "
                "--insecure if that is meant");
  }
  std::vector<std::string>& hosts = flags.service.allowed_hosts;
  const bool is_any = std::find(hosts.begin(), hosts.end(), "*") != hosts.end();
  for (std::string& host : hosts) host = host_name(host);
  if (is_any) {
    hosts.clear();
  } else if (is_loopback(flags.host)) {
    hosts.insert(hosts.end(), {"localhost", "127.0.0.1", "[::1]", host_name(flags.host)});
  } else if (flags.api_key_file.empty()) {
    // No key keeps a page of others from using the server through a browser of this network.
    hosts.insert(hosts.end(), {"localhost", kAnyAddress, own_name(), host_name(flags.host)});
  }
  const std::string& loras = flags.service.limits.lora_directory;
  if (!loras.empty()) list_loras(loras);  // throws if it is not there
  flags.http.connection.max_body_bytes = kMaxBodyBytes;
  complete_enhance_flags(flags.enhance);
  complete_queue_options(flags.queue, flags.queue_password_file);
  choose_save_directory(flags);
  flags.service.keeps_jobs = !flags.queue.url.empty() || flags.queue.jobs_db != ":memory:";
}

}  // namespace ernie_image
