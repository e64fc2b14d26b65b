// `ernie-image generate --batch`: a file of pictures, each with settings of its own.
#pragma once

#include <functional>
#include <vector>

#include "commands/batch_file.h"

namespace ernie_image {

/// The pictures of the file `flags.batch`, whose names and settings are all checked. Throws Error
/// that names the line.
std::vector<BatchPicture> read_batch(const GenerateFlags& flags);

/// Whether `picture` is there already, made by this model with these settings; `enhances`: the
/// prompt is rewritten before it is drawn; `completed`: the request with all that a run fills in.
/// Throws Error(io) if another picture is there.
bool is_made(const BatchPicture& picture, const GenerateFlags& flags, const ModelInfo& info,
             bool enhances, const std::function<Request(const Request&)>& completed);

}  // namespace ernie_image
