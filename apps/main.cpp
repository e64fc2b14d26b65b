// The program `ernie-image`: finds the command, runs it, turns errors into messages and exit codes.
#include <algorithm>
#include <csignal>
#include <cstring>
#include <iostream>
#include <new>

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "bench/bench_command.h"
#include "commands/commands.h"
#include "commands/config_file.h"
#include "commands/flag_table.h"
#include "common/console.h"
#include "common/exit_code.h"
#include "common/flags.h"
#include "common/suggestion.h"
#include "ernie_image/log.h"

namespace ernie_image {
namespace {

constexpr const char* kExamples =
    "Examples:\n"
    "  ernie-image generate \"a red apple on a blue background\"\n"
    "  ernie-image generate --prompt \"a red apple on a blue background\" --output apple.png\n"
    "  ernie-image rerun apple.png\n"
    "  ernie-image enhance --prompt \"king of the jungle\"\n"
    "  ernie-image help generate";

/// A closed standard stream would be reused by the next file opened, which would then receive what
/// is printed. Read-only, so that printing to a closed stream stays an error.
void keep_standard_streams_open() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDONLY) != fd) std::abort();
  }
}

/// The arguments, last first as CLI11 takes them. "--flag=" becomes "--flag" and an empty value,
/// where CLI11 would take the next argument.
std::vector<std::string> reversed_arguments(int count, char** values) {
  std::vector<std::string> arguments;
  for (int i = count - 1; i > 0; --i) {
    std::string argument = values[i];
    const bool is_empty_value =
        argument.starts_with("--") && argument.find('=') == argument.size() - 1;
    if (is_empty_value) {
      argument.pop_back();
      arguments.emplace_back();
    }
    arguments.push_back(std::move(argument));
  }
  return arguments;
}

/// The command that the command line names.
const CLI::App& named_command(const CLI::App& program) {
  const CLI::App* command = &program;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  return *command;
}

/// What the command line has and the command does not: a name of a command, else the first flag,
/// which others may be the values of, else the first word. Empty if there is nothing.
std::string unknown_word(const CLI::App& command) {
  const std::vector<std::string> unknown = command.remaining();
  if (unknown.empty()) return "";
  const auto flag = std::ranges::find_if(
      unknown, [](const std::string& word) { return word.size() > 1 && word[0] == '-'; });
  const bool takes_name = !command.get_subcommands({}).empty();
  const std::string& word = takes_name || flag == unknown.end() ? unknown.front() : *flag;
  return word.starts_with('-') ? word.substr(0, word.find('=')) : word;
}

/// The words of a prompt that was not put in quotes; empty if the command takes none.
std::string scattered_prompt(const CLI::App& command) {
  std::string prompt;
  for (const char* name : {"--prompt", "prompt"}) {
    const CLI::Option* const option = command.get_option_no_throw(name);
    if (option == nullptr) return "";
    for (const std::string& word : option->results()) prompt += word + " ";
  }
  for (const std::string& word : command.remaining()) prompt += word + " ";
  prompt.pop_back();
  return prompt;
}

/// In place of CLI11's list of all that is left over.
void say_unknown(const CLI::App& command, const std::string& word) {
  std::cerr << "ernie-image: ";
  const std::string prompt = word.starts_with('-') ? "" : scattered_prompt(command);
  if (!prompt.empty()) {
    std::cerr << "put the prompt in quotes: \"" << visible(prompt) << "\"\n";
  } else if (!word.starts_with('-') && !command.get_subcommands({}).empty()) {
    std::cerr << "there is no command " << visible(word) << "\n";
  } else {
    std::cerr << "the following argument was not expected: " << visible(word) << "\n";
  }
  std::cerr << "Run with --help for more information.\n";
}

/// What was meant, if the word looks like a slip.
void suggest(const CLI::App& command, const std::string& word) {
  std::vector<std::string> known;
  if (word.starts_with('-')) {
    for (const CLI::Option* option : command.get_options()) {
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    }
  } else {
    for (const CLI::App* child : command.get_subcommands({})) known.push_back(child->get_name());
  }
  const std::string meant = nearest(word, known);
  if (!meant.empty()) std::cerr << "Did you mean " << meant << "?\n";
}

/// The exit status of a command line that could not be read, once it has been said why.
int say_parse_error(const CLI::App& program, const CLI::ParseError& error) {
  const CLI::App& command = named_command(program);
  const std::string word = unknown_word(command);
  const bool is_unknown = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError);
  if (word.empty() || !is_unknown) {
    if (program.exit(error) == 0) return kExitSuccess;
  } else {
    say_unknown(command, word);
  }
  if (!word.empty()) suggest(command, word);
  return kExitUsage;
}

int run(int argc, char** argv) {
  CLI::App program("Text to picture with ERNIE-Image and ERNIE-Image-Turbo", "ernie-image");
  program.set_version_flag("--version,-v", std::string("ernie-image ") + version());
  add_config_flag(program);
  program.footer(kExamples);
  program.require_subcommand(0, 1);  // so that a prompt may be a command's name
  const Command commands[] = {
      add_generate_command(program), add_rerun_command(program),      add_enhance_command(program),
      add_tokenize_command(program), add_eval_command(program),       add_metrics_command(program),
      add_diff_command(program),     add_inspect_command(program),    add_devices_command(program),
      add_bench_command(program),    add_quantize_command(program),   add_worker_command(program),
      add_serve_command(program),    add_lora_command(program),       add_pull_command(program),
      add_help_command(program),     add_completion_command(program), add_man_command(program),
      add_convert_command(program),  add_jobs_command(program)};
  try {
    std::vector<std::string> arguments = reversed_arguments(argc, argv);
    const std::vector<std::string> first = config_arguments();
    arguments.insert(arguments.end(), first.rbegin(), first.rend());
    program.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return say_parse_error(program, error);
  }
  for (const Command& command : commands) {
    if (command.app->parsed()) return command.run();
  }
  throw Error(ErrorKind::invalid_argument, "name a command\nRun with --help for the list of them.");
}

int report_error(const std::string& message, int exit_code) {
  std::cerr << "ernie-image: " << message << "\n";
  return exit_code;
}

/// What the library found on the way. Warnings only: progress is the commands' own matter.
void print_warning(LogLevel level, const std::string& message) {
  if (level < LogLevel::warning) return;
  std::cerr << "Warning: " << visible(message) << "\n";
}

int run_guarded(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const Error& error) {
    return report_error(error.what(), exit_code_of(error.kind()));
  } catch (const std::bad_alloc&) {
    return report_error("out of memory", kExitFailure);
  } catch (const std::exception& error) {
    return report_error(error.what(), kExitFailure);
  }
}

}  // namespace
}  // namespace ernie_image

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error of the write
  ernie_image::keep_standard_streams_open();
  ernie_image::set_log_sink(ernie_image::print_warning);
  return ernie_image::run_guarded(argc, argv);
}
