// The flags of a picture to begin with.
#pragma once

#include <string>

#include "common/flags.h"
#include "common/picture_input.h"

namespace ernie_image {

struct PictureFlags {
  std::string file;  ///< "-" is standard input; empty for none
  std::string mask;  ///< likewise
  PictureHandling handling;
  bool needs_picture = false;  ///< one of the flags that say what to do with it was given
  bool has_strength = false;
  bool needs_mask = false;
  int padding_px = kAreaPaddingPx;
};

/// --image, --strength, --strength-mode, --resize, --mask, --mask-blur, --invert-mask, --outpaint,
/// --fill, --inpaint-area, --padding, --boxes
void add_picture_flags(CLI::App& app, Request& request, PictureFlags& flags);

/// Throws Error(invalid_argument) for flags that need a picture or a mask without one.
void check_picture_flags(const Request& request, PictureFlags& flags);

/// Reads the files into the request, and chooses what it leaves open of its size. Throws Error.
void read_picture_into(Request& request, const PictureFlags& flags, const ModelInfo& info);

}  // namespace ernie_image
