// Flags that are always given: $XDG_CONFIG_HOME/ernie-image/config.toml.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace ernie_image {

/// --config, which is given as often as there are files, the last counting. Every long flag of a
/// command is a key, "memory-limit" or "memory_limit": at the top for all commands that have it, or
/// in a table of the command's name. The command line comes before the table, and that before the
/// top.
void add_config_flag(CLI::App& program);

/// Arguments that name the user's file, before those of the command line; none if there is no such.
std::vector<std::string> config_arguments();

}  // namespace ernie_image
