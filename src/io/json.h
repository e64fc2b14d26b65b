// Parsing JSON files that nobody has checked before.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "io/file_view.h"

namespace ernie_image {

/// The whole of `file` as JSON. Throws Error(corrupt_file): not JSON, not UTF-8, a key twice in one
/// object, nested deeper than 64 levels, larger than 64 MiB, or one of the placeholders of
/// placeholder.h.
nlohmann::json parse_json(const FileView& file);

/// Empties `value` without allocating. Its own destructor allocates, in the size of its largest
/// array or object, and ends the process where that fails.
void dismantle(nlohmann::json& value) noexcept;

/// Text of a file for use in a message: in double quotes, control characters and non-ASCII escaped,
/// cut to about a hundred characters.
std::string printable(std::string_view text);

/// The same for a JSON value of any type.
std::string printable_json(const nlohmann::json& value);

}  // namespace ernie_image
