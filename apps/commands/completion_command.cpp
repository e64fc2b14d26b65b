#include <iostream>

#include <CLI/CLI.hpp>

#include "commands/commands.h"
#include "commands/flag_table.h"
#include "common/console.h"
#include "common/exit_code.h"

namespace ernie_image {
namespace {

constexpr const char* kCompletionExamples =
    "Examples:\n"
    "  source <(ernie-image completion bash)\n"
    "  ernie-image completion zsh > ~/.zfunc/_ernie-image      with fpath+=~/.zfunc in .zshrc\n"
    "  ernie-image completion fish > ~/.config/fish/completions/ernie-image.fish";

std::string joined(const std::vector<std::string>& words, const std::string& separator) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : separator) + word;
  return text;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

/// In single quotes, as all three shells read them but for the quote itself.
std::string quoted(const std::string& text) { return "'" + replaced(text, "'", "'\\''") + "'"; }

/// Up to the first sentence, semicolon or parenthesis: lists have no room for more.
std::string brief(const std::string& help) {
  return help.substr(0, std::min({help.find(". "), help.find("; "), help.find(" ("), help.size()}));
}

/// The commands there are below `entry`, its path behind them: a shell that has read the words up
/// to the cursor finds its entry by them.
std::string bash_case(const CommandEntry& entry) {
  std::vector<std::string> offers = entry.children;
  std::string values;
  bool takes_file = false;
  for (const FlagEntry& flag : entry.flags) {
    if (flag.is_positional()) {
      takes_file = takes_file || flag.takes_file;
      offers.insert(offers.end(), flag.words.begin(), flag.words.end());
      continue;
    }
    offers.insert(offers.end(), flag.names.begin(), flag.names.end());
    if (flag.type.empty()) continue;
    values += "        " + joined(flag.names, "|") + ") words=" + quoted(joined(flag.words, " ")) +
              (flag.takes_file ? "; files=1" : "") + "; return ;;\n";
  }
  return "    " + quoted(entry.title()) + ")\n      case $1 in\n" + values +
         "      esac\n      words=" + quoted(joined(offers, " ")) +
         (takes_file ? "; files=1" : "") + " ;;\n";
}

std::string bash_script(const std::vector<CommandEntry>& table) {
  std::vector<std::string> titles;
  std::string cases;
  for (const CommandEntry& entry : table) {
    if (!entry.path.empty()) titles.push_back("'" + entry.title() + "'");
    cases += bash_case(entry);
  }
  return R"(# Completion of ernie-image for bash.
# $1: the word before the cursor's. Sets `words`, and `files` if paths are offered too.
_ernie_image_offers() {
  case $command in
)" + cases +
         R"(  esac
}

_ernie_image() {
  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command='' words='' files='' i
  local commands=()" +
         joined(titles, " ") + R"()
  for ((i = 1; i < COMP_CWORD; i++)); do
    local longer="${command:+$command }${COMP_WORDS[i]}" known
    for known in "${commands[@]}"; do
      if [[ $known == "$longer" ]]; then command=$longer; fi
    done
  done
  _ernie_image_offers "$before"
  COMPREPLY=()
  local word
  for word in $words; do
    if [[ $word == "$current"* ]]; then COMPREPLY+=("$word"); fi
  done
  if [[ $files && $current != -* ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$current")
  fi
}
complete -F _ernie_image ernie-image
)";
}

/// What stands in brackets and between colons of _arguments.
std::string zsh_text(std::string text) {
  for (const char* special : {"\\", "[", "]", ":"})
    text = replaced(text, special, "\\" + std::string(special));
  return text;
}

std::string zsh_value(const FlagEntry& flag) {
  if (flag.type.empty()) return "";
  const std::string what = ":" + zsh_text(flag.type) + ":";
  if (flag.words.empty()) return what + (flag.takes_file ? "_files" : " ");
  const std::string words = "(" + joined(flag.words, " ") + ")";
  if (!flag.takes_file) return what + words;
  return what + "_alternative \"words\\:word\\:" + words + "\" \"files\\:file\\:_files\"";
}

std::string zsh_function(const CommandEntry& entry) {
  std::string text =
      "_ernie_image_" + replaced(entry.title(), " ", "_") + "() {\n  _arguments -s -S";
  for (const FlagEntry& flag : entry.flags) {
    if (flag.is_positional()) {
      FlagEntry value = flag;
      if (value.type.empty()) value.type = flag.names[0];
      text += " \\\n    " + quoted("*" + zsh_value(value));
      continue;
    }
    for (const std::string& name : flag.names) {
      const std::string assigned = name.starts_with("--") && !flag.type.empty() ? "=" : "";
      text += " \\\n    " + quoted("*" + name + assigned + "[" + zsh_text(brief(flag.help)) + "]" +
                                   zsh_value(flag));
    }
  }
  return text + "\n}\n\n";
}

/// Of a command that has commands: which one, then that one's own function.
std::string zsh_dispatcher(const CommandEntry& entry, const std::vector<CommandEntry>& table) {
  const std::string name = "_ernie_image" + (entry.path.empty() ? "" : "_" + entry.title());
  std::string list;
  for (const CommandEntry& child : table) {
    if (child.path.size() == entry.path.size() + 1 &&
        std::equal(entry.path.begin(), entry.path.end(), child.path.begin()))
      list += " \\\n    " + quoted(child.path.back() + ":" + zsh_text(child.summary));
  }
  return name + "() {\n  local -a commands=(" + list +
         "\n  )\n  if ((CURRENT == 2)); then\n    if [[ $words[2] == -* ]]; then " + name +
         "_; else _describe command commands; fi\n  else\n    local command=$words[2]\n    shift "
         "words\n    ((CURRENT--))\n    (($+functions[" +
         name + "_$command])) && " + name + "_$command\n  fi\n}\n\n";
}

std::string zsh_script(const std::vector<CommandEntry>& table) {
  std::string text = "#compdef ernie-image\n# Completion of ernie-image for zsh.\n\n";
  for (const CommandEntry& entry : table) {
    if (entry.children.empty()) {
      text += zsh_function(entry);
      continue;
    }
    // Its own flags under a name of their own.
    CommandEntry own = entry;
    own.path.emplace_back("");
    text += zsh_function(own) + zsh_dispatcher(entry, table);
  }
  return text +
         "if [[ $funcstack[1] == _ernie-image ]]; then _ernie_image \"$@\"; else compdef "
         "_ernie_image ernie-image; fi\n";
}

std::string fish_quoted(const std::string& text) {
  return "'" + replaced(replaced(text, "\\", "\\\\"), "'", "\\'") + "'";
}

/// When a line of a command is offered: its words have been typed, and none of its own commands.
std::string fish_condition(const CommandEntry& entry) {
  std::string condition;
  for (const std::string& word : entry.path)
    condition += (condition.empty() ? "" : "; and ") + ("__fish_seen_subcommand_from " + word);
  if (entry.children.empty()) return condition;
  const std::string none = "not __fish_seen_subcommand_from " + joined(entry.children, " ");
  return condition.empty() ? none : condition + "; and " + none;
}

std::string fish_script(const std::vector<CommandEntry>& table) {
  std::string text = "# Completion of ernie-image for fish.\ncomplete -c ernie-image -f\n";
  for (const CommandEntry& entry : table) {
    const std::string begin = "complete -c ernie-image -n " + fish_quoted(fish_condition(entry));
    for (const CommandEntry& child : table) {
      if (child.path.size() == entry.path.size() + 1 &&
          std::equal(entry.path.begin(), entry.path.end(), child.path.begin()))
        text += begin + " -a " + child.path.back() + " -d " + fish_quoted(child.summary) + "\n";
    }
    for (const FlagEntry& flag : entry.flags) {
      std::string line = begin;
      if (!flag.is_positional()) {
        for (const std::string& name : flag.names)
          line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
        line += " -d " + fish_quoted(brief(flag.help));
        if (!flag.type.empty()) line += " -r";
      } else if (!flag.takes_file && flag.words.empty()) {
        continue;
      }
      if (flag.takes_file) line += " -F";
      if (!flag.words.empty()) line += " -a " + fish_quoted(joined(flag.words, " "));
      text += line + "\n";
    }
  }
  return text;
}

int print_completion(const CLI::App& program, const std::string& shell) {
  const std::vector<CommandEntry> table = flag_table(program);
  print(shell == "bash"  ? bash_script(table)
        : shell == "zsh" ? zsh_script(table)
                         : fish_script(table));
  return kExitSuccess;
}

}  // namespace

Command add_completion_command(CLI::App& program) {
  CLI::App* app =
      program.add_subcommand("completion", "Print what makes a shell complete commands and flags");
  const auto shell = std::make_shared<std::string>();
  app->add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}).description(""))
      ->type_name("bash|zsh|fish");
  app->footer(kCompletionExamples);
  return {app, [&program, shell] { return print_completion(program, *shell); }};
}

}  // namespace ernie_image
