// The flags of all commands as data, read from where they are defined: what the completion of
// shells, the manual page, the configuration file and suggestions are made of.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace ernie_image {

struct FlagEntry {
  std::vector<std::string> names;  ///< "--height", "-H"; of what has no flag its name alone, "file"
  std::string help;
  std::string type;                ///< "N", "FILE"; "" for a switch
  std::vector<std::string> words;  ///< the values there are, where the table names them
  bool takes_file = false;         ///< a value may be the path of a file or folder

  bool is_positional() const { return !names.front().starts_with('-'); }
};

struct CommandEntry {
  std::vector<std::string> path;  ///< {"lora", "merge"}; {} for the program itself
  std::string summary;
  std::string footer;  ///< examples
  std::vector<FlagEntry> flags;
  std::vector<std::string> children;  ///< names of its own commands

  /// "lora merge"
  std::string title() const;
  /// Every name that begins with "--".
  std::vector<std::string> long_flags() const;
};

/// The program first, each command before its own.
std::vector<CommandEntry> flag_table(const CLI::App& program);

}  // namespace ernie_image
