#include <CLI/CLI.hpp>

#include "commands/commands.h"
#include "common/console.h"
#include "common/exit_code.h"
#include "common/suggestion.h"

namespace ernie_image {
namespace {

/// The subcommand of that name. Throws Error(invalid_argument).
const CLI::App& find_command(const CLI::App& parent, const std::string& name) {
  std::vector<std::string> names;
  for (const CLI::App* command : parent.get_subcommands({})) {
    if (command->get_name() == name) return *command;
    names.push_back(command->get_name());
  }
  const std::string suggestion = nearest(name, names);
  usage_error("help: there is no command " + visible(name) +
              (suggestion.empty() ? "" : "; did you mean " + suggestion + "?"));
}

int print_help(const CLI::App& program, const std::vector<std::string>& names) {
  const CLI::App* command = &program;
  std::string path = program.get_name();
  for (const std::string& name : names) {
    command = &find_command(*command, name);
    path += " " + name;
  }
  print(command->get_formatter()->make_help(command, path, CLI::AppFormatMode::Normal));
  return kExitSuccess;
}

}  // namespace

Command add_help_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("help", "Show the flags and examples of a command");
  const auto names = std::make_shared<std::vector<std::string>>();
  app->add_option("command", *names, "the command, e.g. generate")->type_name("NAME");
  app->footer("Examples:\n  ernie-image help generate\n  ernie-image help lora merge");
  return {app, [&program, names] { return print_help(program, *names); }};
}

}  // namespace ernie_image
