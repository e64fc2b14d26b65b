// `ernie-image generate --batch`: a file of pictures, each with settings of its own.
#pragma once

#include <string>
#include <vector>

#include "commands/generate_flags.h"

namespace ernie_image {

struct BatchPicture {
  std::size_t line;  ///< of the file, from 1
  Request request;   ///< of one picture: the flags, and in their place what the line says
  std::string path;
};

/// The pictures of the file `flags.batch`, JSON objects one a line, whose names and settings are
/// all checked. Throws Error that names the line.
std::vector<BatchPicture> read_batch(const GenerateFlags& flags);

/// Whether `picture` is there already, made by this model with these settings; `enhances`: the
/// prompt is rewritten before it is drawn. Throws Error(io) if another picture is there.
bool is_made(const BatchPicture& picture, const GenerateFlags& flags, const ModelInfo& info,
             bool enhances);

}  // namespace ernie_image
