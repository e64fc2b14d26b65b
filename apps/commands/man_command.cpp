#include <CLI/CLI.hpp>

#include "commands/commands.h"
#include "commands/flag_table.h"
#include "common/console.h"
#include "common/exit_code.h"
#include "ernie_image/pipeline.h"

namespace ernie_image {
namespace {

/// Text that troff is to print as it is: its own signs escaped, and no line taken for a request.
std::string roff(const std::string& text) {
  std::string result;
  for (const char c : text) {
    const bool begins_line = result.empty() || result.back() == '\n';
    if (begins_line && (c == '.' || c == '\'')) result += "\\&";
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result += "\\-";
    } else {
      result += c;
    }
  }
  return result;
}

std::string flag_text(const FlagEntry& flag) {
  std::string names;
  for (const std::string& name : flag.names)
    names += (names.empty() ? "" : ", ") + ("\\fB" + roff(name) + "\\fR");
  if (flag.is_positional()) names = "\\fI" + roff(flag.names[0]) + "\\fR";
  if (!flag.type.empty()) names += " \\fI" + roff(flag.type) + "\\fR";
  return ".TP\n" + names + "\n" + roff(flag.help) + "\n";
}

/// Examples, line by line as they are.
std::string footer_text(const std::string& footer) {
  return footer.empty() ? "" : ".PP\n.nf\n" + roff(footer) + "\n.fi\n";
}

std::string command_text(const CommandEntry& entry) {
  std::string text =
      ".SS " + roff("ernie-image " + entry.title()) + "\n" + roff(entry.summary) + ".\n";
  for (const FlagEntry& flag : entry.flags) {
    if (flag.names.front() != "--help") text += flag_text(flag);
  }
  return text + footer_text(entry.footer);
}

std::string manual(const std::vector<CommandEntry>& table) {
  const CommandEntry& program = table.front();
  std::string text = ".TH ERNIE\\-IMAGE 1 \"\" \"ernie\\-image " + roff(version()) +
                     "\" \"User Commands\"\n.SH NAME\nernie\\-image \\- " + roff(program.summary) +
                     "\n.SH SYNOPSIS\n.B ernie\\-image\n\\fIcommand\\fR [\\fIflags\\fR]\n"
                     ".SH OPTIONS\n";
  for (const FlagEntry& flag : program.flags) text += flag_text(flag);
  text += footer_text(program.footer) + ".SH COMMANDS\n";
  for (std::size_t i = 1; i < table.size(); ++i) text += command_text(table[i]);
  return text +
         ".SH FILES\n.TP\n.I $XDG_CONFIG_HOME/ernie\\-image/config.toml\nDefaults of flags; "
         "~/.config if the variable is not set.\n"
         ".SH ENVIRONMENT\n.TP\n.B ERNIE_IMAGE_MODEL\nThe model where \\-\\-model names none.\n";
}

}  // namespace

Command add_man_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("man", "Print the manual page of all commands");
  app->footer("Examples:\n  ernie-image man | man -l -");
  return {app, [&program] {
            print(manual(flag_table(program)));
            return kExitSuccess;
          }};
}

}  // namespace ernie_image
