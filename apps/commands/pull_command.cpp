#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "commands/commands.h"
#include "common/console.h"
#include "common/exit_code.h"
#include "io/json.h"
#include "io/model_cache.h"

namespace ernie_image {
namespace {

constexpr const char* kPullExamples =
    "Examples:\n"
    "  ernie-image pull baidu/ERNIE-Image-Turbo\n"
    "  ernie-image pull baidu/ERNIE-Image-Turbo --client modelscope\n"
    "  ernie-image pull baidu/ERNIE-Image-Turbo --mirror https://hub.example.org\n"
    "An interrupted download goes on when the same command is given again.";

struct PullFlags {
  std::string id;
  std::string client;
  std::string mirror;
};

/// The client to run. Throws Error(not_found) if there is none.
HubClient choose_client(const PullFlags& flags) {
  const std::vector<HubClient> installed = installed_hub_clients();
  for (const HubClient& client : installed) {
    const bool is_modelscope = client.program == "modelscope";
    if (flags.client.empty() || (flags.client == "modelscope") == is_modelscope) return client;
  }
  throw Error(ErrorKind::not_found,
              "pull: " + (flags.client.empty() ? "no client of a model hub" : flags.client) +
                  " is installed, or it is not in PATH; install " +
                  (flags.client == "modelscope" ? "the Python package modelscope"
                   : flags.client == "hf"       ? "the Python package huggingface_hub"
                                          : "the Python package huggingface_hub or modelscope") +
                  ", e.g. with\n  python3 -m venv ~/hub && ~/hub/bin/pip install " +
                  (flags.client == "modelscope" ? "modelscope" : "huggingface_hub") +
                  "\n  export PATH=\"$HOME/hub/bin:$PATH\"\nor download " + printable(flags.id) +
                  " elsewhere and copy its folder");
}

/// Another address for the hub, as that client takes it.
void set_mirror(const HubClient& client, const std::string& mirror) {
  if (!mirror.starts_with("http://") && !mirror.starts_with("https://"))
    usage_error("--mirror: " + printable(mirror) +
                " is no address such as https://hub.example.org");
  std::string address = mirror;
  while (address.ends_with('/')) address.pop_back();
  if (client.program == "modelscope") {
    ::setenv("MODELSCOPE_ENDPOINT", address.c_str(), 1);
    const std::size_t host = address.find("://") + 3;
    ::setenv("MODELSCOPE_DOMAIN", address.substr(host).c_str(), 1);
  } else {
    ::setenv("HF_ENDPOINT", address.c_str(), 1);
  }
}

/// Runs the client on this terminal, so that its progress is seen and Ctrl-C reaches it; its exit
/// status, 128 + N after signal N.
int run_client(std::vector<std::string> command) {
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::signal(SIGINT, SIG_IGN);  // the client's to answer
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGINT);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  pid_t process = 0;
  const int problem =
      ::posix_spawnp(&process, arguments[0], nullptr, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  if (problem != 0)
    throw Error(ErrorKind::io, "pull: cannot run " + command[0] + ": " + std::strerror(problem));
  int status = 0;
  while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int run_pull(const PullFlags& flags) {
  if (!is_hub_id(flags.id) || flags.id.starts_with('-'))
    usage_error("pull: " + printable(flags.id) +
                " is no id of a model, such as baidu/ERNIE-Image-Turbo");
  const HubClient client = choose_client(flags);
  if (!flags.mirror.empty()) set_mirror(client, flags.mirror);
  const std::vector<std::string> command = client.download(flags.id);
  std::string shown;
  for (const std::string& word : command) shown += (shown.empty() ? "" : " ") + word;
  std::cerr << shown << "\n";
  const int status = run_client(command);
  if (status == 128 + SIGINT || status == kExitCancelled) {
    std::cerr << "Stopped; the same command goes on from there.\n";
    return kExitCancelled;
  }
  if (status != 0) {
    throw Error(ErrorKind::io,
                "pull: `" + shown + "` ended with status " + std::to_string(status) +
                    "; what it says stands above. If the hub cannot be reached, name "
                    "another with --mirror; the same command goes on where this one "
                    "stopped");
  }
  std::vector<std::string> looked_in;
  const auto folder = find_in_caches(flags.id, looked_in);
  if (!folder)
    throw Error(ErrorKind::not_found, "pull: " + shown + " says that it is done, but " + flags.id +
                                          " is not where it is looked for: " + looked_in.front());
  print(*folder + "\n");
  std::cerr << "Use it with  ernie-image generate --model " << flags.id << " \"a prompt\"\n";
  return kExitSuccess;
}

}  // namespace

Command add_pull_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "pull", "Download a model with the installed client of Hugging Face or ModelScope");
  const auto flags = std::make_shared<PullFlags>();
  app->add_option("id", flags->id, "of the model, e.g. baidu/ERNIE-Image-Turbo")
      ->required()
      ->type_name("ID");
  app->add_option("--client", flags->client, "which client; default: hf if it is installed")
      ->check(CLI::IsMember({"hf", "modelscope"}).description(""))
      ->type_name("hf|modelscope");
  app->add_option("--mirror", flags->mirror, "address of another server with the same models")
      ->type_name("URL");
  app->footer(kPullExamples);
  return {app, [flags] { return run_pull(*flags); }};
}

}  // namespace ernie_image
