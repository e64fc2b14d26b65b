// Standard output: only what a command was asked for goes there; notes and progress go to stderr.
#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace ernie_image {

/// Writes `text` and flushes. Throws Error(io) if stdout is closed or full.
void print(const std::string& text);

/// Throws Error(io) if stdout is closed, or a pipe that nobody reads: for commands whose whole work
/// goes there.
void require_standard_output();

/// Indented, with a line end; bytes of paths that are no UTF-8 become U+FFFD.
void print_json(const nlohmann::json& json);

/// A name out of a file with "?" for its control characters, which a terminal would obey.
std::string visible(std::string name);

/// The same, but line ends and tabs stay.
std::string visible_lines(std::string text);

/// Columns of the terminal on stderr; 80 if it is none.
int terminal_columns();

/// "12.3 MiB"
std::string human_bytes(std::uint64_t bytes);

/// "0.123 s"
std::string human_seconds(double seconds);

}  // namespace ernie_image
