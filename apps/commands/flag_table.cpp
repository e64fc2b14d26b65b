#include "commands/flag_table.h"

#include <algorithm>
#include <cctype>

#include <CLI/CLI.hpp>

namespace ernie_image {
namespace {

/// "int8|int4" has two; "off|DIR" has one beside a path, "DIR|ID|FILE" and "N" have none.
std::vector<std::string> words_of(const std::string& type) {
  std::vector<std::string> words;
  if (type.find('|') == std::string::npos && type.find_first_of("[ ,") != std::string::npos)
    return words;
  for (std::size_t begin = 0; begin < type.size();) {
    const std::size_t end = std::min(type.find('|', begin), type.size());
    const std::string word = type.substr(begin, end - begin);
    const auto is_plain = [](unsigned char c) {
      return std::islower(c) != 0 || std::isdigit(c) != 0 || c == '_' || c == '-';
    };
    if (word != "-" && std::ranges::all_of(word, is_plain)) words.push_back(word);
    begin = end + 1;
  }
  return words;
}

FlagEntry entry_of(const CLI::Option& option) {
  FlagEntry entry;
  for (const std::string& name : option.get_lnames()) entry.names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) entry.names.push_back("-" + name);
  if (entry.names.empty()) entry.names.push_back(option.get_name());
  entry.help = option.get_description();
  if (option.get_expected_max() > 0) entry.type = option.get_type_name();
  entry.words = words_of(entry.type);
  entry.takes_file =
      entry.type.find("FILE") != std::string::npos || entry.type.find("DIR") != std::string::npos ||
      entry.type.find(".json") != std::string::npos || entry.type.find(".png") != std::string::npos;
  return entry;
}

void add_command(const CLI::App& app, const std::vector<std::string>& path,
                 std::vector<CommandEntry>& table) {
  CommandEntry entry{path, app.get_description(), app.get_footer(), {}, {}};
  for (const CLI::Option* option : app.get_options()) entry.flags.push_back(entry_of(*option));
  const std::vector<const CLI::App*> children = app.get_subcommands({});
  for (const CLI::App* child : children) entry.children.push_back(child->get_name());
  table.push_back(std::move(entry));
  for (const CLI::App* child : children) {
    std::vector<std::string> own = path;
    own.push_back(child->get_name());
    add_command(*child, own, table);
  }
}

}  // namespace

std::string CommandEntry::title() const {
  std::string text;
  for (const std::string& name : path) text += (text.empty() ? "" : " ") + name;
  return text;
}

std::vector<std::string> CommandEntry::long_flags() const {
  std::vector<std::string> result;
  for (const FlagEntry& flag : flags) {
    for (const std::string& name : flag.names)
      if (name.starts_with("--")) result.push_back(name);
  }
  return result;
}

std::vector<CommandEntry> flag_table(const CLI::App& program) {
  std::vector<CommandEntry> table;
  add_command(program, {}, table);
  return table;
}

}  // namespace ernie_image
