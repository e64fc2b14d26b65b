// A picture to begin with: its flags, and how it becomes part of a request.
#pragma once

#include <string>

#include "common/flags.h"
#include "io/resize_image.h"

namespace ernie_image {

struct PictureFlags {
  std::string file;  ///< "-" is standard input; empty for none
  Fit fit = Fit::crop;
  bool needs_picture = false;  ///< one of the flags that say what to do with it was given
};

/// --image, --strength, --strength-mode, --resize
void add_picture_flags(CLI::App& app, Request& request, PictureFlags& flags);

/// Throws Error(invalid_argument) for flags that need a picture without one.
void check_picture_flags(const PictureFlags& flags);

/// Reads the picture into the request, scaled to the request's size. Where that leaves a side open,
/// it follows from the picture's proportions; where it leaves both, the picture keeps its size, or
/// is made smaller until it has no more pixels than the model's own size, and a multiple of what
/// the model asks for. Throws Error.
void read_picture_into(Request& request, const PictureFlags& flags, const ModelInfo& info);

/// SHA-256, hex, of the size and the pixels: what a picture made from it keeps of it.
std::string picture_hash(const Image& image);

}  // namespace ernie_image
