// The flags of a picture to begin with.
#pragma once

#include <optional>
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

/// What the flags name, read and decoded once for however many requests.
class PictureOfFlags {
 public:
  /// Throws Error.
  explicit PictureOfFlags(const PictureFlags& flags);

  /// Chooses what the request leaves open of its size. Does nothing if no picture was given. Throws
  /// Error(invalid_argument).
  void put_into(Request& request, const ModelInfo& info) const;

 private:
  PictureHandling handling_;
  std::optional<Image> image_;
  std::optional<Mask> mask_;
};

}  // namespace ernie_image
