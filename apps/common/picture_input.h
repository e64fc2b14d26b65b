// A picture to begin with: its flags, and how it becomes part of a request.
#pragma once

#include <optional>
#include <string>

#include "common/flags.h"
#include "io/mask.h"
#include "io/resize_image.h"

namespace ernie_image {

/// How a picture and a mask that people bring become those of a request.
struct PictureHandling {
  Fit fit = Fit::crop;
  double mask_blur_px = 0;  ///< of the mask at its final size
  bool invert_mask = false;
};

struct PictureFlags {
  std::string file;  ///< "-" is standard input; empty for none
  std::string mask;  ///< likewise
  PictureHandling handling;
  bool needs_picture = false;  ///< one of the flags that say what to do with it was given
  bool needs_mask = false;
};

/// --image, --strength, --strength-mode, --resize, --mask, --mask-blur, --invert-mask
void add_picture_flags(CLI::App& app, Request& request, PictureFlags& flags);

/// Throws Error(invalid_argument) for flags that need a picture or a mask without one.
void check_picture_flags(const PictureFlags& flags);

/// Puts the picture into the request, scaled to the request's size. Where that leaves a side open,
/// it follows from the picture's proportions; where it leaves both, the picture keeps its size, or
/// is made smaller until it has no more pixels than the model's own size, and a multiple of what
/// the model asks for. A mask must have the picture's proportions. Throws Error.
void put_picture_into(Request& request, const Image& image, const std::optional<Mask>& mask,
                      const PictureHandling& handling, const ModelInfo& info);

/// The same of the files.
void read_picture_into(Request& request, const PictureFlags& flags, const ModelInfo& info);

/// SHA-256, hex, of the size and the pixels: what a picture made from it keeps of it.
std::string picture_hash(const Image& image);
/// Likewise of its mask, a byte a pixel.
std::string mask_hash(const PictureInput& picture);

}  // namespace ernie_image
