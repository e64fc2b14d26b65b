// The file of `generate --batch`: JSON objects one a line, each a picture with settings of its own.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "commands/generate_flags.h"

namespace ernie_image {

struct BatchPicture {
  std::size_t line;  ///< of the file, from 1
  Request request;   ///< of one picture: the flags, and in their place what the line says
  std::string path;
};

/// The pictures of the text of `flags.batch`, whose names and settings are checked but not whether
/// they can be written. Throws Error(invalid_argument | corrupt_file) that names the line.
std::vector<BatchPicture> parse_batch(std::string_view text, const GenerateFlags& flags);

/// How errors call a line of the file.
std::string batch_line(const std::string& path, std::size_t line);

}  // namespace ernie_image
